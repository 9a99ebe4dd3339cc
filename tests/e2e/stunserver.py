"""A STUN server of one page, for a process of its own: whoever asks is told by what address it is seen."""

import socket
import sys

from aioice import stun


def main(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        print("ready", flush=True)
        while True:
            data, sender = sock.recvfrom(2048)
            try:
                request = stun.parse_message(data)
            except ValueError:
                continue
            if (request.message_class, request.message_method) != (stun.Class.REQUEST, stun.Method.BINDING):
                continue
            response = stun.Message(
                message_method=stun.Method.BINDING,
                message_class=stun.Class.RESPONSE,
                transaction_id=request.transaction_id,
            )
            response.attributes["XOR-MAPPED-ADDRESS"] = sender
            sock.sendto(bytes(response), sender)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
