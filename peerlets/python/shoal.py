"""Shoal for Python, in one file, with nothing but the standard library (Python 3.9 or later).

Callers: messages to peerlets of a pool, through the agent of this computer or another one's API.

    import shoal

    agent = shoal.Agent()
    for reply in agent.ask("word-count", "how many words are these", all=True):
        print(reply["name"], reply["text"])

Peerlets: programs that answer messages. With `input = "json"` and `output = "json"` in the manifest:

    import shoal

    def handle(message):
        return "Hello " + message["text"]

    shoal.serve(handle)

docs/doors.md and docs/peerlets.md in Shoal's repository say the rest. Copy this file beside your program.
"""

import base64
import json
import os
import socket
import sys
import traceback
import urllib.error
import urllib.parse
import urllib.request

__all__ = ["Agent", "ShoalError", "NotHandled", "Failed", "Xml", "serve"]

#: Seconds an answer may take that waits for nobody else.
ANSWER_TIMEOUT_S = 60
#: Seconds a stream may say nothing: an agent says every 15 s over HTTP that it is still there.
SILENCE_TIMEOUT_S = 60
#: Bytes of a line of an answer, at most.
LINE_LIMIT_BYTES = 64 * 1024 * 1024


class ShoalError(Exception):
    """The agent does not do it (`status` as in HTTP), or was lost (`status` is None)."""

    def __init__(self, reason, status=None, hint=None):
        super().__init__(reason if hint is None else "%s (%s)" % (reason, hint))
        self.status = status
        self.hint = hint


class NotHandled(ShoalError):
    """Not every recipient dealt with the message and was content. `states` says who and why, `replies` what came."""

    def __init__(self, states, replies):
        left = [state for state in states if state.get("exit_status") != 0]
        told = ["%s: %s" % (state["name"], state.get("why") or state["state"]) for state in left]
        super().__init__("; ".join(told) or "nobody dealt with it")
        self.states = states
        self.replies = replies


class Agent:
    """An agent of a pool.

    Agent() or Agent(data="DIR") is the agent of this computer with that data directory, reached through its socket; Agent(
    api="http://HOST:4919", user="ana", password="…") is any agent, reached over HTTP. Calls may come from several threads.
    """

    def __init__(self, data=None, *, api=None, user=None, password=None):
        if api is None:
            data = data or os.environ.get("SHOAL_DATA") or _usual_data_directory()
            self._calls = _Socket(os.path.join(data, "messages.sock"))
        else:
            self._calls = _Http(api, user, password)

    def send(self, type, text=None, **options):
        """Sends a message and goes on; it is on the agent's disk then. Answers a list of {"id", "recipients", …}.

        To whom: on="NAME" or on=["NAME", …], group="NAME", or all=True. What: text, or xml="<a>…</a>". Further: session,
        from_session, ttl, expires_s, in_reply_to; and as_user where the agent is this computer's.
        """
        return self._calls.answer("send", _message(type, text, options))["messages"]

    def request(self, type, text=None, *, timeout_s=60, **options):
        """Sends a message and yields what comes of it: {"event": "sent" | "state" | "reply" | "done", …}."""
        body = _message(type, text, options)
        body["timeout_s"] = timeout_s
        return self._calls.events("request", body, timeout_s + ANSWER_TIMEOUT_S)

    def ask(self, type, text=None, *, timeout_s=60, **options):
        """Sends a message, waits, and answers the replies: a list of {"name", "agent", "text", "xml", …}.

        Raises NotHandled unless every recipient dealt with it and ended with status 0.
        """
        replies, states, finished = [], {}, False
        for event in self.request(type, text, timeout_s=timeout_s, **options):
            if event["event"] == "sent":
                for message in event["messages"]:
                    for recipient in message["recipients"]:
                        states[message["id"], recipient["agent"]] = dict(recipient, state="waiting")
            elif event["event"] == "state":
                states[event["message"], event["agent"]] = event
            elif event["event"] == "reply":
                replies.append(event)
            elif event["event"] == "done":
                finished = event["finished"]
        if not finished or any(state.get("exit_status") != 0 for state in states.values()):
            raise NotHandled(list(states.values()), replies)
        return replies

    def states(self, id):
        """What became of a message, at each recipient."""
        return self._calls.answer("states", {"id": id})["recipients"]

    def log(self, **filter):
        """A page of the log: {"entries": […], "next": …}. Filters: type, sender, receiver, session, from_ms, before_ms,
        text, id, direction, order, limit, after."""
        return self._calls.answer("log", filter)

    def follow(self, **filter):
        """Yields what happens to the log: {"event": "entry" | "state" | "missed", …}. Never ends but with the agent."""
        return self._calls.events("follow", filter, None)


def _message(type, text, options):
    options = dict(options)
    to = {}
    on = options.pop("on", None)
    if on is not None:
        to["agents"] = [on] if isinstance(on, str) else list(on)
    if options.get("group") is not None:
        to["group"] = options["group"]
    if options.get("all"):
        to["all"] = True
    options.pop("group", None), options.pop("all", None)
    if len(to) != 1:
        raise ValueError("whom the message is for: one of on=, group= and all=True")
    body = {"type": type, "to": to}
    if text is not None:
        body["text"] = text
    known = ("xml", "session", "from_session", "ttl", "expires_s", "in_reply_to", "as_user")
    for name, value in options.items():
        if name not in known:
            raise TypeError("unknown option %s" % name)
        if value is not None:
            body["as" if name == "as_user" else name] = value
    return body


def _usual_data_directory():
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Application Support/shoal")
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(home, "shoal")


def _read_line(stream):
    line = stream.readline(LINE_LIMIT_BYTES)
    if line and not line.endswith(b"\n"):
        raise ShoalError("the agent was lost in the middle of a line")
    return line


class _Socket:
    """One connection for each call."""

    def __init__(self, path):
        self._path = path

    def answer(self, call, body):
        for kind, told in self._lines(self._open(call, body, ANSWER_TIMEOUT_S)):
            if kind == "answer":
                return told
        raise ShoalError("the agent was lost before it answered")

    def events(self, call, body, timeout_s):
        # The call is made at once, not when the first event is asked for.
        return self._events(self._open(call, body, timeout_s))

    def _events(self, connection):
        for kind, told in self._lines(connection):
            if kind == "event":
                yield told
                if told.get("event") == "done":
                    return
        raise ShoalError("the agent was lost before all was told")

    def _open(self, call, body, timeout_s):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout_s)
            connection.connect(self._path)
            try:
                connection.sendall(json.dumps({"seq": 1, "call": call, "body": body}).encode() + b"\n")
            except BrokenPipeError:
                pass  # It says why.
            return connection
        except OSError as error:
            connection.close()
            raise ShoalError("no agent answers at %s: %s" % (self._path, error)) from error

    def _lines(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                for line in iter(lambda: _read_line(stream), b""):
                    told = json.loads(line)
                    if "error" in told:
                        error = told["error"]
                        raise ShoalError(error["error"], error.get("status"), error.get("hint"))
                    kind = "answer" if "answer" in told else "event"
                    yield kind, told[kind]
            except OSError as error:
                raise ShoalError("the agent was lost: %s" % error) from error


class _Http:
    """The same calls over HTTP."""

    def __init__(self, api, user, password):
        self._base = api.rstrip("/") + "/api/v1/"
        signed = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        self._headers = {"Authorization": "Basic " + signed, "Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(_NoRedirect(), urllib.request.ProxyHandler({}))

    def answer(self, call, body):
        with self._open(call, body, ANSWER_TIMEOUT_S) as response:
            return json.load(response)

    def events(self, call, body, timeout_s):
        return self._events(self._open(call, body, SILENCE_TIMEOUT_S))

    def _events(self, response):
        name, data, done = None, [], False
        with response:
            try:
                for line in iter(lambda: _read_line(response), b""):
                    field, _, value = line.decode().rstrip("\r\n").partition(":")
                    value = value[1:] if value.startswith(" ") else value
                    if field == "event":
                        name = value
                    elif field == "data":
                        data.append(value)
                    elif field == "" and not line.strip() and data:
                        told = json.loads("\n".join(data))
                        told.setdefault("event", name)
                        done = told["event"] == "done"
                        yield told
                        name, data = None, []
            except OSError as error:
                raise ShoalError("the agent was lost: %s" % error) from error
        if not done:
            raise ShoalError("the agent was lost before all was told")

    def _open(self, call, body, timeout_s):
        query = urllib.parse.urlencode({name: value for name, value in body.items() if value is not None})
        if call == "send":
            method, path, sent = "POST", "messages", body
        elif call == "request":
            method, path, sent = "POST", "requests", body
        elif call == "states":
            method, path, sent = "GET", "messages/" + urllib.parse.quote(body["id"], safe=""), None
        elif call == "log":
            method, path, sent = "GET", "log?" + query, None
        else:
            method, path, sent = "GET", "log/follow?" + query, None
        data = None if sent is None else json.dumps(sent).encode()
        request = urllib.request.Request(self._base + path, data=data, headers=self._headers, method=method)
        try:
            return self._opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            try:
                told = json.loads(error.read(LINE_LIMIT_BYTES))
                reason, hint = told["error"], told.get("hint")
            except (ValueError, KeyError, TypeError):
                reason, hint = "status %s" % error.code, None
            raise ShoalError(reason, error.code, hint) from None
        except OSError as error:
            raise ShoalError("no agent answers at %s: %s" % (self._base, error)) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The password goes to the agent and nobody else."""

    def redirect_request(self, *_):
        return None


class Xml(str):
    """An answer that is XML rather than plain text."""


class Failed(Exception):
    """What a handler raises to end a message with a status of its own and, if it likes, a text."""

    def __init__(self, text=None, status=1):
        super().__init__(text)
        self.text = text
        self.status = status


def serve(handle, ready=None):
    """Answers messages until there are no more: for a peerlet with `input = "json"` and `output = "json"`.

    `handle(message)` is given each message as a dict (docs/peerlets.md) and returns a text, Xml, None (nothing to say), or an
    iterable of texts, each of which goes out as it comes. What it raises ends the message with status 1, Failed with its own.
    `ready` is the line of the manifest's `ready = { line = "…" }`, if there is one. What the handler prints goes to standard
    error: standard output is the answers'.
    """
    out, sys.stdout = sys.stdout, sys.stderr

    def say(fields):
        out.write(json.dumps(fields) + "\n")
        out.flush()

    try:
        if ready is not None:
            out.write(ready + "\n")
            out.flush()
        for line in sys.stdin:
            message = json.loads(line)
            _answer(handle, message, say)
    finally:
        sys.stdout = out


def _answer(handle, message, say):
    def reply(**fields):
        say(dict(fields, in_reply_to=message["id"]))

    try:
        answer = handle(message)
        if answer is None or isinstance(answer, str):
            reply(**_content(answer))
            return
        for part in answer:
            reply(more=True, **_content(part))
        reply(status=0)
    except Failed as failed:
        reply(status=failed.status, **_content(failed.text))
    except Exception as error:  # One message's trouble is not the others'.
        traceback.print_exc(file=sys.stderr)
        reply(status=1, text="%s: %s" % (type(error).__name__, error))


def _content(answer):
    if answer is None:
        return {}
    return {"xml": str(answer)} if isinstance(answer, Xml) else {"text": str(answer)}
