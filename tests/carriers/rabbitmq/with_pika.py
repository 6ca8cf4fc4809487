"""A program that knows nothing of rowmill, and RabbitMQ by pika alone.

    with_pika.py consume URL QUEUE COUNT    takes and acks so many; prints a line of JSON for each
    with_pika.py publish URL QUEUE COUNT    publishes so many, each confirmed by the server
"""

import json
import sys

import pika


def consume(channel, queue, count):
    channel.basic_qos(prefetch_count=count)
    for method, properties, body in channel.consume(queue, inactivity_timeout=60):
        if method is None:
            sys.exit(f"nothing came any more; {count} were to come")
        print(json.dumps({
            "id": properties.message_id,
            "type": properties.content_type,
            "persistent": properties.delivery_mode == 2,
            "headers": properties.headers,
            "data": json.loads(body),
        }))
        channel.basic_ack(method.delivery_tag)
        count -= 1
        if count == 0:
            return


def publish(channel, queue, count):
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish(
            "",
            queue,
            json.dumps({"number": number, "text": "grün"}).encode(),
            # The second is as bare as can be.
            pika.BasicProperties() if number == 1 else pika.BasicProperties(
                message_id=f"pika-{number}",
                content_type="application/json",
                user_id=pika.URLParameters(url).credentials.username,
                headers={"row": number, "sheet": "Sheet 1", "CC": [], "nested": {"a": [1]}},
            ),
            mandatory=True,
        )


what, url, queue, count = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
{"consume": consume, "publish": publish}[what](connection.channel(), queue, int(count))
connection.close()
