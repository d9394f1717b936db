"""The simulated server as the wire shows it: requests and answers of the JetStream API that delivery uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from todoku.bus import wire
from todoku.delivery.simulation.machines import BEGIN_UTC
from todoku.delivery.simulation.server import BusServer, NoSuchConsumer, Stored, WrongSequence, stream_of

_ACK, _API = "$JS.ACK.", wire.API
_DIRECT, _KEPT, _NEXT = "DIRECT.GET.", "STREAM.MSG.GET.", "CONSUMER.MSG.NEXT."
_BATCH_END = {wire.STATUS: wire.END_OF_BATCH, wire.DESCRIPTION: "EOB", "Nats-Num-Pending": "0"}
_NOT_FOUND = {wire.STATUS: wire.NOT_FOUND, wire.DESCRIPTION: "Message Not Found"}
_NO_RESPONDERS = {wire.STATUS: wire.NO_RESPONDERS}
_NO_MESSAGES = {wire.STATUS: "404", wire.DESCRIPTION: "No Messages"}
_TIME_IS_UP = {wire.STATUS: "408", wire.DESCRIPTION: "Request Timeout"}


class Reply(NamedTuple):
    """One message that the server sends back. reply: where an ack of it goes, "" when it needs none."""

    data: bytes
    headers: Mapping[str, str] | None = None
    subject: str = ""
    reply: str = ""


class _Pull(msgspec.Struct):
    batch: int = 1
    no_wait: bool = False
    expires: int = 0


class _Waiting(NamedTuple):
    stream: str
    name: str
    most: int
    until: float
    answer: Callable[[list[Reply]], None]


class WireServer:
    """Answers requests. read_lag: gives how old an answer of a replica may be, in seconds."""

    def __init__(self, server: BusServer, at: Callable[[float, Callable[[], None]], None]) -> None:
        """at: lets something happen at a true time."""
        self._server = server
        self._at = at
        self._waiting: list[_Waiting] = []
        self.now: Callable[[], float] = lambda: 0.0
        self.read_lag: Callable[[], float] = lambda: 0.0

    def ask(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> Reply:
        """Answer a request that has one answer: a publish or a call of the API."""
        if not subject.startswith(_API):
            return self._publish(subject, payload, headers or {})
        call = subject[len(_API) :]
        if call.startswith(_DIRECT):
            stream, _, wanted = call[len(_DIRECT) :].partition(".")
            found = self._server.last(stream, wanted, self.now() - self.read_lag())
            return _direct(found) if found is not None else Reply(b"", _NOT_FOUND)
        if call.startswith(_KEPT):
            return self._kept(call[len(_KEPT) :], msgspec.json.decode(payload)["last_by_subj"])
        kind, verb, rest = call.split(".", 2)
        return Reply(msgspec.json.encode(self._api(f"{kind}.{verb}", rest, payload)))

    def send(self, subject: str, payload: bytes, answer: Callable[[list[Reply]], None]) -> None:
        """Take what has no answer or many: acks, pulls, reading in batches."""
        if subject.startswith(_ACK):
            self._acknowledge(subject, payload)
        elif subject.startswith(_API + _NEXT):
            stream, _, name = subject[len(_API + _NEXT) :].partition(".")
            self._pull(stream, name, msgspec.json.decode(payload, type=_Pull), answer)
        elif subject.startswith(_API + _DIRECT):
            wanted = msgspec.json.decode(payload)
            found = self._server.matching(subject[len(_API + _DIRECT) :], wanted["next_by_subj"])
            chosen = [_direct(message) for message in found if message.sequence >= wanted["seq"]]
            answer([*chosen, Reply(b"", _BATCH_END)] if chosen else [Reply(b"", _NOT_FOUND)])
        else:
            raise ValueError(f"the simulated server does not know {subject}")

    def look_again(self) -> None:
        """Serve waiting pulls, after something may have come."""
        waiting, self._waiting = self._waiting, []
        for pull in waiting:
            if pull.until <= self.now():
                pull.answer([Reply(b"", _TIME_IS_UP)])
            else:
                self._serve(pull)

    def forget_pulls(self) -> None:
        """Drop waiting pulls: the server crashed."""
        self._waiting = []

    # --- publish and API ---

    def _publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Reply:
        expected = headers.get(wire.EXPECTED_LAST_SUBJECT_SEQUENCE)
        try:
            sequence, duplicate = self._server.publish(
                self.now(),
                subject,
                payload,
                headers.get(wire.MESSAGE_ID, ""),
                int(expected) if expected is not None else None,
                gone=wire.KV_OPERATION in headers,
            )
        except WrongSequence as wrong:
            error = {"code": 400, "err_code": 10071, "description": f"wrong last sequence: {wrong.last}"}
            return Reply(msgspec.json.encode({"stream": stream_of(subject), "error": error}))
        if self._waiting:
            self.look_again()
        answer = {"stream": stream_of(subject), "seq": sequence, "duplicate": duplicate}
        return Reply(msgspec.json.encode(answer))

    def _api(self, call: str, rest: str, payload: bytes) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.json.decode(payload) if payload else {}
        if call == "STREAM.INFO":
            return self._info(rest, body.get("subjects_filter"))
        if call == "STREAM.PURGE":
            self._server.purge(rest, body["filter"], body.get("seq", 1 << 62))
            return {"success": True}
        if call == "CONSUMER.CREATE":
            stream, name, subject_filter = rest.split(".", 2)
            config = body["config"]
            self._server.make_durable(
                stream, name, subject_filter, config["ack_wait"] / 1e9, config.get("max_ack_pending", 1000)
            )
            return {"name": name, "num_pending": self._server.pending(stream, name)}
        stream, _, name = rest.partition(".")
        try:
            if call == "CONSUMER.INFO":
                return {"name": name, "num_pending": self._server.pending(stream, name)}
            if call == "CONSUMER.DELETE":
                self._server.pending(stream, name)
                self._server.delete_durable(stream, name)
                return {"success": True}
        except NoSuchConsumer:
            return {"error": {"code": 404, "err_code": wire.ERROR_CONSUMER_MISSING, "description": "not found"}}
        raise ValueError(f"the simulated server does not know {call}")

    def _kept(self, stream: str, subject: str) -> Reply:
        """Answer as the leader of a cluster does, which is never behind."""
        found = self._server.last(stream, subject, self.now())
        if found is None:
            error = {"code": 404, "err_code": wire.ERROR_NO_MESSAGE, "description": "no message found"}
            return Reply(msgspec.json.encode({"error": error}))
        headers = "".join(f"\r\n{name}: {value}" for name, value in (_direct(found).headers or {}).items())
        message = {
            "subject": found.subject,
            "seq": found.sequence,
            "hdrs": f"NATS/1.0{headers}\r\n\r\n".encode(),
            "data": found.payload,
            "time": _time_stamp(found.at),
        }
        return Reply(msgspec.json.encode({"message": message}))

    def _info(self, stream: str, subject_filter: str | None) -> dict[str, Any]:
        state: dict[str, Any] = {
            "first_seq": self._server.first_sequence(stream),
            "last_seq": self._server.last_sequence(stream),
        }
        total = 0
        if subject_filter is not None:
            counts: dict[str, int] = {}
            for message in self._server.matching(stream, subject_filter):
                counts[message.subject] = counts.get(message.subject, 0) + 1
            state["subjects"] = counts
            total = len(counts)
        return {"state": state, "total": total, "ts": _time_stamp(self.now())}

    # --- consumers ---

    def _acknowledge(self, subject: str, payload: bytes) -> None:
        _, _, stream, name, _, sequence, *_ = subject.split(".")
        now = self.now()
        if payload.startswith(b"+ACK"):
            self._server.ack(now, stream, name, int(sequence))
        elif payload.startswith(b"+WPI"):
            self._server.extend(now, stream, name, int(sequence))
        elif payload.startswith(b"-NAK"):
            words = payload[4:].strip()
            delay_seconds = msgspec.json.decode(words)["delay"] / 1e9 if words else 0.0
            self._server.nak(now, stream, name, int(sequence), delay_seconds)
            self._wake_later(stream, name)

    def _pull(self, stream: str, name: str, wanted: _Pull, answer: Callable[[list[Reply]], None]) -> None:
        self._serve(_Waiting(stream, name, wanted.batch, self.now() + wanted.expires / 1e9, answer))

    def _serve(self, pull: _Waiting) -> None:
        now = self.now()
        try:
            delivered = self._server.pull(now, pull.stream, pull.name, pull.most)
        except NoSuchConsumer:
            pull.answer([Reply(b"", _NO_RESPONDERS)])
            return
        replies = [self._delivery(pull, *one) for one in delivered]
        if replies and len(replies) < pull.most:
            replies.append(Reply(b"", _NO_MESSAGES))
        if replies:
            pull.answer(replies)
        elif pull.until <= now:
            pull.answer([Reply(b"", _NO_MESSAGES)])
        else:
            self._waiting.append(pull)
            self._at(pull.until, self.look_again)
            self._wake_later(pull.stream, pull.name)

    def _wake_later(self, stream: str, name: str) -> None:
        if any(pull.stream == stream and pull.name == name for pull in self._waiting):
            wake = self._server.next_wake(stream, name)
            if wake is not None:
                self._at(wake, self.look_again)

    def _delivery(self, pull: _Waiting, message: Stored, times: int, consumer_sequence: int) -> Reply:
        nanoseconds = int(message.at * 1e9)
        numbers = f"{times}.{message.sequence}.{consumer_sequence}.{nanoseconds}.0"
        headers = {wire.MESSAGE_ID: message.message_id} if message.message_id else None
        return Reply(message.payload, headers, message.subject, f"{_ACK}{pull.stream}.{pull.name}.{numbers}")


def _direct(message: Stored) -> Reply:
    headers = {
        "Nats-Subject": message.subject,
        "Nats-Sequence": str(message.sequence),
        "Nats-Time-Stamp": _time_stamp(message.at),
    }
    if message.message_id:
        headers[wire.MESSAGE_ID] = message.message_id
    if message.gone:
        headers[wire.KV_OPERATION] = "DEL"
    return Reply(message.payload, headers)


def _time_stamp(at: float) -> str:
    return (BEGIN_UTC + timedelta(seconds=at)).isoformat()
