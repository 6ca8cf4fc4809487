"""A program that knows nothing of rowmill, and Redis by redis-py alone.

    with_redis_py.py consume URL STREAM COUNT   takes and ends so many; prints a line of JSON for each
    with_redis_py.py ack URL STREAM COUNT       the same, but forgets to delete what it acked
    with_redis_py.py publish URL STREAM COUNT   publishes so many
"""

import json
import sys

import redis

GROUP = "rowmill"


def consume(server, stream, count, delete=True):
    while count > 0:
        # No more is read than is wanted, because what is read is in hands.
        answer = server.xreadgroup(GROUP, "python", {stream: ">"}, count=count, block=60_000)
        if not answer:
            sys.exit(f"nothing came any more; {count} were to come")
        streams = answer.items() if isinstance(answer, dict) else answer
        for _, entries in streams:
            if isinstance(answer, dict):
                entries = [entry for some in entries for entry in some]
            for entry, fields in entries:
                attributes = {name[5:]: fields[name] for name in fields if name.startswith("attr:")}
                print(json.dumps({
                    "id": fields["id"],
                    "attributes": attributes,
                    "data": json.loads(fields["data"]),
                }))
                assert server.xack(stream, GROUP, entry) == 1
                if delete:
                    assert server.xdel(stream, entry) == 1
                count -= 1


def publish(server, stream, count):
    for number in range(count):
        data = json.dumps({"number": number, "text": "grün"}, ensure_ascii=False)
        fields = [
            {"id": f"python-{number}", "data": data, "attr:row": number, "attr:sheet": "Sheet 1"},
            # The second is as bare as can be, and the third has not even data.
            {"data": data},
            {"number": number, "text": "grün"},
        ][number % 3]
        assert server.xadd(stream, fields, nomkstream=True), "no such queue"


what, url, stream, count = sys.argv[1:]
with redis.Redis.from_url(url, decode_responses=True) as server:
    if what == "publish":
        publish(server, stream, int(count))
    else:
        consume(server, stream, int(count), delete=what == "consume")
