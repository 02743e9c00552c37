"""What reading one source file gave: the seed's first step."""

# mypy: disable-error-code="type-arg"

from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt
from osbot_utils.type_safe.Type_Safe import Type_Safe

# fmt: off


class Schema__SA__Ingestion__Result(Type_Safe):
    """`errors` holds one value per reason or failure, whatever is useful to the reader."""

    log_file_key   : str            # key of the source file; a plain str, as Safe_Str__Id would rewrite `.` and `/`
    records_parsed : Safe_UInt
    records_stored : Safe_UInt
    cache_prefix   : str
    errors         : list
