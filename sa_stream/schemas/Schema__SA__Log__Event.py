"""One real-time log record as strings, for inspection and samples; the hot path reads columns and never builds one."""

from osbot_utils.type_safe.Type_Safe import Type_Safe

# fmt: off


class Schema__SA__Log__Event(Type_Safe):
    """The 27 fields of the seed, as they came; a value that is missing (`-`) or in no configured list is ''."""

    timestamp            : str      # epoch seconds, with fraction
    sc_status            : str      # HTTP status, `000` if the viewer left first
    sc_bytes             : str
    cs_method            : str
    cs_uri_stem          : str      # in real-time logs with the query string
    cs_uri_query         : str
    cs_protocol          : str      # http, https, ws, wss
    cs_protocol_version  : str
    sc_content_type      : str
    sc_content_len       : str
    cs_user_agent        : str
    cs_referer           : str
    x_edge_location      : str
    x_edge_result_type   : str      # Hit, Miss, Error, ...
    x_edge_response_type : str      # x-edge-response-result-type
    x_edge_request_id    : str
    time_taken           : str      # seconds
    time_to_first_byte   : str      # seconds
    sc_range_start       : str
    sc_range_end         : str
    ssl_protocol         : str
    ssl_cipher           : str
    cs_accept            : str
    cs_accept_encoding   : str
    cs_host              : str
    origin_fbl           : str      # origin's first-byte latency, seconds
    origin_lbl           : str      # origin's last-byte latency, seconds
