"""Values, methods, content types and headers that programs have stumbled over."""

from __future__ import annotations

ODD = [
    "", " ", "0", "-1", "1e309", "NaN", "9" * 400, "2147483648", "-9223372036854775809", "0x1F", "1_000", "٣", "true",
    "null", "None", "[]", "{}", '{"$gt": ""}', "\x00", "a\x00b", "\r\nSet-Cookie: a=b", "\t\v\f", "\x1b[31m", "\x7f",
    "\ufeff", "\u202e\u2066", "\ud800", "\U0010ffff", "é\u0301" * 50, "ﷺ" * 300, "🏳️‍🌈" * 40, "İ", "ß", "Ⅷ",
    "'", '"', "' OR 1=1 --", "%", "%%%s%n", "_%\\", "\\", "{{7*7}}", "${7*7}", "<script>alert(1)</script>", "&#0;",
    "../../etc/passwd", "..%2f..%2fetc", "/", "//elsewhere.example", "javascript:alert(1)", "https://[::1", "http://a:b@c:99999",
    "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "a@b", "@", "a@" + "b." * 120 + "c",
    "a" * 65 + "@example.com", "two@example.com,three@example.com", "xn--@xn--.com", "(((((((((((((((((", "\n" * 500,
    "- " * 2000, "> " * 900 + "x", "[a](b" * 500, "```" * 300, "|" * 3000, "*" * 5000, "x" * 40_000,
]  # fmt: skip
ODD_BYTES = [b"%ff%fe", b"%00", b"%c0%af", b"%ed%a0%80", b"%", b"%zz", b"=", b"&", b";;;", b"+", b"a=b=c", b"[]=1"]
METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "POST", "PROPFIND", "X"]
TYPES = [
    "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x", "application/json",
    "application/x-www-form-urlencoded; charset=utf-16", "text/plain", "application/xml", "image/png", "a/b; c", "/",
]  # fmt: skip
HEADERS = {
    "Accept": ["*/*", "application/json", "text/event-stream", "text/html;q=x", "a/b;;;,", ",,,", "*;q=0", "text/*"],
    "Accept-Language": ["x" * 3000, "de-DE, *;q=0.5", ";;;"],
    "Accept-Encoding": ["gzip;q=0, br", "identity;q=0, *;q=0", "\xff"],
    "Last-Event-ID": ["-1", "9" * 40, "x", "", "1.5", "\xfc"],
    "If-None-Match": ['"x"', "*", 'W/"', "\xff"],
    "If-Modified-Since": ["yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 99999 00:00:00 GMT"],
    "Range": ["bytes=0-", "bytes=5-1", "bytes=-0", "bytes=0-0,2-2,4-4", "lines=1-", "bytes=999999999999-"],
    "Origin": ["null", "https://elsewhere.example", "x"],
    "Referer": ["", "https://elsewhere.example/", "https://[", "\xff"],
    "Host": ["localhost:1", "elsewhere.example", "[", "", "localhost:x", "a" * 300],
    "X-Forwarded-For": ["x", "::1, 1.2.3.4", "999.999.999.999", "," * 500],
    "X-Forwarded-Host": ["elsewhere.example", "["],
    "X-Forwarded-Proto": ["gopher", "http"],
    "X-CSRFToken": ["", "x", "a.b.c", "\xff", "x" * 5000],
    "Cookie": ["__Host-session=x", "__Host-session=.eJw.x.y", ";;;=;", "\xff=\xff", "__Host-session=" + "x" * 5000],
    "traceparent": ["00-x-y-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "\xff"],
    "Authorization": ["Basic x", "Bearer x", "Basic " + "YTpi" * 100, "\xff"],
    "Content-Encoding": ["gzip", "x"],
    "Expect": ["100-continue", "x"],
    "Upgrade": ["websocket", "h2c"],
    "Sec-Fetch-Site": ["cross-site", "x"],
    "Purpose": ["prefetch"],
}  # fmt: skip
