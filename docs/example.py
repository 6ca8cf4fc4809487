#!/usr/bin/env python3
"""Messages with nothing but `requests`: python3 docs/example.py [SERVER]; its key, if it asks for one, in ROWMILL_API_KEY."""
import os
import sys

import requests

server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
session = requests.Session()
if key := os.environ.get("ROWMILL_API_KEY"):
    session.headers["Authorization"] = f"Bearer {key}"


def call(method, path, **more):
    answer = session.request(method, server + path, timeout=60, **more)
    if not answer.ok:  # a problem document: what is wrong, in words
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None


call("POST", "/topics", json={"id": "orders"})
call("POST", "/queues", json={"id": "german-orders", "topic_id": "orders", "message_filters": {"country": ["DE"]}})
for number, country in enumerate(["DE", "FR", "DE"], start=1):
    call("POST", "/topics/orders/messages", json={"data": {"order": number}, "attributes": {"country": country}})
while batch := call("GET", "/queues/german-orders/messages?limit=10&wait=1")["data"]:
    for message in batch:
        print(f"order {message['data']['order']} from {message['attributes']['country']}, attempt {message['delivery_attempts']}")
        call("PUT", f"/messages/{message['id']}/ack")
print("nothing is left")
