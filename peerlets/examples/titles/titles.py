import sys
import xml.etree.ElementTree as ElementTree

message = ElementTree.fromstring(sys.stdin.buffer.read().rstrip(b"\0"))
for title in message.iter("{urn:books}title"):
    print(title.text)
