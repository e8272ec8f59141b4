"""Fifteen texts that would do something, were they taken for more than text (matrix row 23)."""

from __future__ import annotations

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    "</title></table><iframe src=//evil.example>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "http://evil.example",
    "www.evil.example",
    "{{7*7}}",
    "a | b",
    "`code` **bold** _it_ # head",
    "\x1b[31mred",
    "line\nERROR forged record",
    "user\u202etxt.exe",
    '" onmouseover="alert(1)',
]
