"""A stock SOAP client (zeep) that uses every operation of the WSDL. Arguments: the WSDL's address, user, password."""

import datetime
import sys

import requests
import zeep
from lxml import etree

wsdl, user, password = sys.argv[1:]
session = requests.Session()
session.auth = (user, password)
client = zeep.Client(wsdl, transport=zeep.Transport(session=session, timeout=60, operation_timeout=90))
service = client.service

# Request: text to several, each answers.
answer = service.Request(type="word-count", to={"agent": ["office-pc", "lab-2"]}, text="one <two> & three")
assert answer.finished is True, answer
assert len(answer.message) == 2 and {state.state for state in answer.state} == {"handled"}, answer
assert {state.exitStatus for state in answer.state} == {0}, answer
assert {reply.name for reply in answer.reply} == {"office-pc", "lab-2"}, answer
assert all(reply.text.split() == ["0", "4", "17"] for reply in answer.reply), answer
assert all(reply.sent.tzinfo is not None for reply in answer.reply), answer

# Request: any XML, in a namespace of its own.
books = etree.fromstring('<b:books xmlns:b="urn:books"><b:title>Emma</b:title><b:title>Ä &amp; B</b:title></b:books>')
answer = service.Request(type="titles", to={"agent": ["lab-2"]}, xml={"_value_1": [books]}, timeoutSeconds=60)
assert [reply.text for reply in answer.reply] == ["Emma", "Ä & B"], answer

# Request: nobody there has such a peerlet.
answer = service.Request(type="nothing-like-it", to={"all": True})
assert {state.state for state in answer.state} == {"refused"} and answer.state[0].why, answer

# Request: the time is over before anybody answers.
answer = service.Request(type="word-count", to={"agent": ["lab-2"]}, text="x", timeoutSeconds=0)
assert answer.finished is False and not answer.reply and len(answer.state) == 1, answer

# Send, and what became of it.
sent = service.Send(type="word-count", to={"all": True}, text="to all", ttl=5, expiresSeconds=600)
sent = sent if isinstance(sent, list) else sent.message
assert len(sent) == 1 and len(sent[0].recipient) == 2, sent
deadline = datetime.datetime.now() + datetime.timedelta(seconds=60)
while True:
    states = service.States(id=sent[0].id)
    states = states if isinstance(states, list) else states.state
    if {state.state for state in states} == {"handled"}:
        break
    assert datetime.datetime.now() < deadline, states

# The log: a page, then the next.
since = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
page = service.Log(type="titles", direction="sent", limit=10, **{"from": since})
assert len(page.entry) == 1 and page.damaged == 0, page
entry = page.entry[0]
assert entry.to.agent == ["lab-2"] and getattr(entry, "from").user == "admin", entry
sent_books = entry.xml._value_1[0]
assert sent_books.tag == "{urn:books}books" and len(sent_books) == 2, etree.tostring(sent_books)
first = service.Log(type="word-count", limit=1)
second = service.Log(type="word-count", limit=1, after=first.next)
assert first.entry[0].place != second.entry[0].place, (first, second)
one = service.Log(id=sent[0].id)
assert one.entry and {entry.id for entry in one.entry} == {sent[0].id}, one

# Faults.
for wrong in (dict(to={"agent": ["nobody"]}), dict(to={"group": "nobodies"})):
    try:
        service.Send(type="word-count", text="x", **wrong)
    except zeep.exceptions.Fault as fault:
        assert fault.code.endswith("Client") and "nobod" in fault.message, fault
        assert fault.detail.find("{urn:shoal:soap:1}problem/{urn:shoal:soap:1}status").text == "404", fault
    else:
        raise AssertionError("no fault for %r" % wrong)

operations = sorted(next(iter(client.wsdl.services.values())).ports["Messages"].binding._operations)
assert operations == ["Log", "Request", "Send", "States"], operations
print(", ".join(operations) + ": all of them work")
