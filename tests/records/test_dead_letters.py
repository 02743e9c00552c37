"""What a dead letter keeps, what it never shows, and how many there can be."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.records import dead_letters
from sa_stream.records.dead_letters import Dead_Letter, Dead_Letters, Set_Aside_Letter, dead_letter_text
from sa_stream.records.fields import Field_List, Field_Lists

SHARD = "shardId-000000000001"
FIELDS = Field_List(
    ("timestamp", "sc-status", "c-ip", "cs-uri-stem", "cs-uri-query", "cs-user-agent", "cs-host", "cs-referer"),
    frozenset({"c-ip", "cs-host"}),
)


def add(letters: Dead_Letters, number: int, arrival_ms: int = 0, line: int = 0, **more: object) -> None:
    letter = Dead_Letter(more.pop("partition", SHARD), str(number), line, "status", 27, arrival_ms)  # type: ignore[arg-type]
    letters.add(letter, **more)  # type: ignore[arg-type]


class Test_letters:
    def test_a_letter_says_why_and_where_and_nothing_of_the_line(self) -> None:
        letters = Dead_Letters()
        letters.add(Dead_Letter(SHARD, "495", 2, "fields", 3, 1_771_252_200_123), raw=b"a\tsecret\tb")
        (letter,) = letters.take()
        assert json.loads(letter.to_json()) == {
            "partition": SHARD,
            "number": "495",
            "line": 2,
            "reason": "fields",
            "field_count": 3,
            "arrival_ms": 1_771_252_200_123,
        }

    def test_keys_lie_in_the_order_of_their_records(self) -> None:
        keys = [Dead_Letter(SHARD, number, line, "x", 1, 0).key() for number, line in (("9", 0), ("9", 10), ("10", 2))]
        assert keys == sorted(keys)
        assert all(key.startswith(f"dead-letters/{SHARD}/") for key in keys)

    def test_a_partition_with_odd_characters_gives_a_plain_key(self) -> None:
        assert Dead_Letter("a//b c", "1", 0, "x", 1, 0).key().count("/") == 3

    def test_a_repetition_is_the_same_letter(self) -> None:
        letters = Dead_Letters()
        for _ in range(2):
            add(letters, 7)
        assert len(letters.take()) == 1
        add(letters, 7, line=1)
        add(letters, 7, partition="other")
        assert len({letter.key() for letter in letters.take()}) == 2
        assert letters.take() == []


class Test_a_batch_that_is_set_aside:
    LISTS = Field_Lists({FIELDS.count: FIELDS})

    def letter(self, keep_text: bool, *payloads: bytes, error: str = "Broken: no") -> Set_Aside_Letter:
        letters = Dead_Letters(keep_text=keep_text)
        numbers = [str(495 + n) for n in range(len(payloads))]
        found = letters.set_aside(
            SHARD, numbers, [1_000 + n for n in range(len(payloads))], error, payloads, self.LISTS
        )
        return found

    def test_one_letter_says_which_records_and_why_and_nothing_of_their_lines(self) -> None:
        letter = self.letter(False, b"a\tsecret\n", b"secret", b"secret")
        assert json.loads(letter.to_json()) == {
            "partition": SHARD,
            "number": "495",
            "last_number": "497",
            "reason": "set_aside",
            "records": 3,
            "error": "Broken: no",
            "arrival_ms": 1_000,
        }
        assert letter.key() == f"dead-letters/{SHARD}/{'495'.zfill(56)}/set_aside-{'497'.zfill(56)}"

    def test_its_error_shows_no_value_that_the_error_quotes(self) -> None:
        error = self.letter(
            False, b"x", error="Error: 'tok-1' and \"tok-2\" of `tok-3` from 10.1.2.3 " + "x" * 900
        ).error
        assert error.startswith("Error: [value] and [value] of [value] from [ip] xxx")
        assert len(error) == 500

    def test_its_texts_are_scrubbed_like_any_others_and_bounded(self) -> None:
        line = b"1\t200\t10.0.0.1\t/a?token\tq\tagent\thost\t/to/a@b.cd\n"
        letter = self.letter(True, line + line, b"one\t10.0.0.2", b"x" * 3_000_000)
        assert letter.texts is not None
        assert letter.texts[:2] == ("1\t200\t[removed]\t/a\t[removed]\t[removed]\t[removed]\t/to/[email]",) * 2
        assert "10.0.0" not in "".join(letter.texts)
        many = self.letter(True, *[line] * 40_000)
        assert many.records == 40_000
        assert many.texts is not None
        assert 1 << 20 < sum(map(len, many.texts)) < (1 << 20) + 2_048

    def test_what_breaks_the_text_too_does_not_break_the_letter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(line: bytes, fields: object) -> str:
            raise ZeroDivisionError(line)

        monkeypatch.setattr(dead_letters, "dead_letter_text", broken)
        assert self.letter(True, b"secret").texts == ("[unreadable: ZeroDivisionError]",)


class Test_cap:
    def test_a_minute_keeps_so_many(self) -> None:
        letters = Dead_Letters()
        for number in range(1_000):
            add(letters, number, arrival_ms=120_000 + number)
        assert [letter.number for letter in letters.take()] == [str(number) for number in range(60)]

    def test_another_minute_and_another_partition_have_room_of_their_own(self) -> None:
        letters = Dead_Letters(per_minute=2)
        for number in range(10):
            add(letters, number, arrival_ms=0)
            add(letters, 100 + number, arrival_ms=60_000)
            add(letters, number, partition="other")
        assert len(letters.take()) == 6
        letters.forget(SHARD)
        add(letters, 500, arrival_ms=0)
        assert len(letters.take()) == 1

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400_000)), max_size=80))
    def test_what_is_kept_is_a_function_of_the_records(self, records: list[tuple[int, int]]) -> None:
        at_once, piecemeal = Dead_Letters(per_minute=3), Dead_Letters(per_minute=3)
        taken = []
        for number, (line, arrival_ms) in enumerate(records):
            add(at_once, number, arrival_ms, line)
            add(piecemeal, number, arrival_ms, line)
            taken += piecemeal.take()
        assert at_once.take() == taken
        minutes = Counter(arrival_ms // 60_000 for _, arrival_ms in records)
        assert len(taken) == sum(min(3, count) for count in minutes.values())

    def test_memory_stays_bounded_over_many_minutes(self) -> None:
        letters = Dead_Letters()
        for minute in range(1_000):
            add(letters, minute, arrival_ms=minute * 60_000)
        assert len(letters._kept[SHARD]) <= 60


class Test_text:
    def test_text_is_only_there_when_asked_for(self) -> None:
        letters = Dead_Letters(keep_text=True)
        add(letters, 1, raw=b"1\t2\t3", fields=Field_List(("timestamp", "sc-status", "sc-bytes")))
        (letter,) = letters.take()
        assert json.loads(letter.to_json())["text"] == "1\t2\t3"

    def test_each_field_is_scrubbed_or_removed(self) -> None:
        line = b"17\tabc\t203.0.113.9\t/u/a%40b.de?token=1\ttoken=1\tcurl/8\twww.example.com\thttps://x.y/z?t=1\r\n"
        assert dead_letter_text(line, FIELDS).split("\t") == [
            "17",
            "abc",
            "[removed]",
            "/u/[email]",
            "[removed]",
            "[removed]",
            "[removed]",
            "https://x.y/z",
        ]

    def test_a_line_of_no_known_form_shows_kinds_and_no_values(self) -> None:
        text = dead_letter_text(b"1771252200.1\tGB\t203.0.113.9\t-\t\tsession=abc", None)
        assert text.split("\t") == ["[epoch seconds]", "[capitals]", "[IP address]", "-", "", "[text]"]
        assert dead_letter_text(b"a\tb", FIELDS) == "[text]\t[text]"

    def test_broken_utf8_is_replaced(self) -> None:
        assert dead_letter_text(b"\xff1\t\xc3", Field_List(("timestamp", "sc-status"))) == "\ufffd1\t\ufffd"

    def test_half_an_address_at_the_end_of_a_long_line_is_not_shown(self) -> None:
        fields = Field_List(("timestamp", "sc-content-type", "cs-accept"))
        line = b"1\t" + b"%20" * 21_843 + b"\t203.0.113.9 and much more" + b"x" * 2_000_000
        assert "203" not in dead_letter_text(line, fields)

    @pytest.mark.parametrize("fields", [None, Field_List(("timestamp",))])
    def test_text_is_at_most_2048_characters(self, fields: Field_List | None) -> None:
        assert len(dead_letter_text(b"a" * 10_000, fields)) <= 2_048
        assert len(dead_letter_text(b"a\t" * 10_000, fields)) <= 2_048

    @given(st.binary(max_size=200), st.integers(0, 100))
    def test_no_address_is_left_in_any_line(self, noise: bytes, seed: int) -> None:
        parts = [b"192.0.2.77", b"john@example.com", noise, b"\t", b"\t"]
        random.Random(seed).shuffle(parts)
        line = b"/".join(parts)
        for fields in (None, Field_List(("timestamp", "sc-status", "cs-host"))):
            text = dead_letter_text(line, fields)
            assert "john@example.com" not in text
            text.encode()
