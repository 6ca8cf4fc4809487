"""A program that knows boto3 and nothing of rowmill.

    foreign.py ENDPOINT consume QUEUE COUNT     takes and deletes; prints each message as a line of JSON
    foreign.py ENDPOINT publish QUEUE COUNT     sends messages 0, 1, 2, ...
    foreign.py ENDPOINT describe QUEUE          prints the queue's attributes and tags as JSON
"""

import json
import sys

import boto3

endpoint, command, name = sys.argv[1:4]
sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=endpoint)
url = sqs.get_queue_url(QueueName=name)["QueueUrl"]


def consume(count):
    while count > 0:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageAttributeNames=["All"]
        )
        for message in answer["Messages"]:
            attributes = message.get("MessageAttributes", {})
            print(json.dumps({
                "body": json.loads(message["Body"]),
                "attributes": {name: value["StringValue"] for name, value in attributes.items()},
            }))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            count -= 1


def publish(count):
    for first in range(0, count, 10):
        entries = [
            {
                "Id": str(n),
                "MessageBody": json.dumps({"number": n, "text": "Grüße"}),
                "MessageAttributes": {
                    "row": {"DataType": "Number", "StringValue": str(n)},
                    "kind": {"DataType": "String", "StringValue": "foreign"},
                    "bytes": {"DataType": "Binary", "BinaryValue": bytes([0, 255, n])},
                },
            }
            for n in range(first, min(first + 10, count))
        ]
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert not answer.get("Failed"), answer


def describe():
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    tags = sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
    print(json.dumps({"attributes": attributes, "tags": tags}))


{"consume": consume, "publish": publish, "describe": describe}[command](*map(int, sys.argv[4:]))
