"""How the files of an archive are to be read."""

from sa_stream.archive.files import Archive_File, Oldest
from sa_stream.archive.reads import File_Read
from sa_stream.commits.decisions import Field_Choice
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.services.archive_windows import decide_fields
from sa_stream.storage.state_store import State_Store
from tests.log_lines import line_of

NOTE = b"Logs of our site.\n"
OURS = line_of({"timestamp": "1771252200.5"}) + b"\n"


def logs(*contents: bytes):
    for content in contents:
        file = Archive_File(
            key="a", size_bytes=len(content), etag="", modified_ms=0, name="a", oldest=Oldest(0, 1, by_name=False)
        )
        read = File_Read("a", Log_Form.TEXT, stored=file)
        yield read, iter([Log_Lines(read, content)])


def test_a_note_among_the_files_of_an_archive_keeps_no_list_from_being_found() -> None:
    for files, checked in [((NOTE,), False), ((NOTE * 300, NOTE), False), ((NOTE * 300, OURS), True)]:
        fields = Field_Choice("auto", "", "", State_Store("memory://"))
        decide_fields(fields, logs(*files))
        assert fields.checked == checked
