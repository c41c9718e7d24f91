"""Serve the page of simko report on this machine while a run goes on. The page is made again when the run has written
something, and refreshes itself. Only this machine can open it. Ends with Ctrl-C.

example:
  simko watch runs/sums
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="as for simko report")
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--every", type=int, default=30, help="seconds between refreshes (default: 30)")


def run(args: argparse.Namespace) -> None:
    from simko.report.watch import LivePage, open_server

    if args.every < 1:
        raise ValueError(f"--every is {args.every}: give the seconds between refreshes, 1 or more")
    if not 0 <= args.port < 65536:
        raise ValueError(f"--port is {args.port}: give 0 for a free one, or 1 to 65535")
    page = LivePage(args.runs, args.every)
    try:
        server = open_server(page.html, args.port)
    except OSError as error:
        raise ValueError(f"port {args.port} cannot be opened ({error}): leave --port out for a free one") from error
    with server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
