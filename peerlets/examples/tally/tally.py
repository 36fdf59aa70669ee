import json
import sys
from collections import Counter

tally = Counter()
print("ready", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    user = message["from"]["user"]
    try:
        tally[user] += int(message.get("text", ""))
        reply = {"in_reply_to": message["id"], "text": f"{user} has {tally[user]}"}
    except ValueError:
        reply = {"in_reply_to": message["id"], "text": "a whole number, please", "status": 2}
    print(json.dumps(reply), flush=True)
