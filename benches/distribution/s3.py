"""A bucket of empty objects that answers after a delay, for measuring listings.

It knows HEAD and GET of an object and ListObjectsV2 with prefix, delimiter, start-after and
continuation-token. Keys are `data/<prefix>/<number>`, and signatures are not looked at.
"""

import bisect
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse
from xml.sax.saxutils import escape

OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;0&quot;</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Bucket:
    """Serves `prefixes` folders of `each` objects on a free port."""

    def __init__(self, prefixes, each, delay, page):
        self.keys = [f"data/{p:03}/{n:08}" for p in range(prefixes) for n in range(each)]
        self.delay, self.page, self.requests = delay, page, 0
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 1 << 20

            def log_message(self, *_):
                pass

            def answer(self, status, body=b""):
                bucket.requests += 1
                time.sleep(bucket.delay)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                self.send_header("ETag", '"0"')
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self):
                url = urlparse(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                if query.get("list-type") == "2":
                    return self.answer(200, bucket.list(query))
                key = unquote(url.path).split("/", 2)[-1]
                at = bisect.bisect_left(bucket.keys, key)
                known = at < len(bucket.keys) and bucket.keys[at] == key
                return self.answer(200 if known else 404)

            do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def environment(self):
        port = self.server.server_address[1]
        return {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }

    def list(self, query):
        prefix = query.get("prefix", "")
        delimiter = query.get("delimiter")
        after = max(query.get("start-after", ""), query.get("continuation-token", ""))
        at = max(bisect.bisect_right(self.keys, after), bisect.bisect_left(self.keys, prefix))
        objects, folders, last = [], [], after
        while at < len(self.keys) and len(objects) + len(folders) < self.page:
            key = self.keys[at]
            if not key.startswith(prefix):
                at = len(self.keys)
                break
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                objects.append(OBJECT.format(escape(key)))
                last, at = key, at + 1
                continue
            folder = key[: end + 1]
            folders.append(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>")
            last = folder + "\U0010ffff"
            at = bisect.bisect_left(self.keys, last)
        more = at < len(self.keys) and self.keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><IsTruncated>{'true' if more else 'false'}</IsTruncated>"
            f"<MaxKeys>{self.page}</MaxKeys><KeyCount>{len(objects) + len(folders)}</KeyCount>"
            f"{token if more else ''}{''.join(objects)}{''.join(folders)}</ListBucketResult>"
        ).encode()
