"""Rate limits: readers of what servers say, waits for tenacity, and hooks with which clients report by themselves.

Families of headers that are read, and how each tells when the quota is fresh:

===================  ===========================================================  ==============================
family               headers                                                      reset
===================  ===========================================================  ==============================
RFC 9110             ``Retry-After`` [1]_                                         seconds or HTTP date
IETF draft 8 to 11   ``RateLimit: "p";r=0;t=30``                                  distance in seconds;
                     ``RateLimit-Policy: "p";q=100;w=60`` [2]_                    ``Retry-After`` wins
IETF draft 7         ``RateLimit: limit=100, remaining=0, reset=30`` [3]_         distance in seconds
IETF to draft 6      ``RateLimit-Limit``, ``-Remaining``, ``-Reset`` [4]_         distance in seconds
GitLab               ``RateLimit-*``, and ``-Observed``, ``-Name`` [5]_           epoch seconds
GitHub               ``X-RateLimit-*``, and ``-Used``, ``-Resource`` [6]_         epoch seconds
GitHub GraphQL       ``rateLimit { limit remaining resetAt }`` in the body [7]_   RFC 3339
OpenAI, Groq         ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``    spans: ``6m0s``, ``12ms``
                     [8]_ [9]_
Azure OpenAI         names as OpenAI's; -1 means unknown [10]_                    distance in seconds
OpenAI, Anthropic    ``retry-after-ms`` [11]_                                     milliseconds; wins
Anthropic            ``anthropic-ratelimit-*-{limit,remaining,reset}`` [12]_      RFC 3339
Discord              ``X-RateLimit-Reset-After``, ``-Bucket`` [13]_               distance in seconds, fractions
Slack                ``Retry-After`` with a 429 [14]_                             seconds
Stripe               ``Stripe-Rate-Limited-Reason`` with a 429 [15]_              none
Shopify REST         ``X-Shopify-Shop-Api-Call-Limit: 32/40`` [16]_               none
Shopify GraphQL      ``extensions.cost.throttleStatus`` in the body [16]_         by ``restoreRate``
Reddit               ``X-Ratelimit-Remaining`` (fractions), ``-Used`` [17]_       distance in seconds
Docker Hub           ``RateLimit-Remaining: 0;w=21600`` [18]_                     the window's seconds
Linear               ``X-RateLimit-{Requests,Complexity}-*`` [19]_                epoch milliseconds
Telegram             ``parameters.retry_after`` in the body [20]_                 seconds
Google               ``RetryInfo.retryDelay`` in the body [21]_                   a span: ``600s``
MediaWiki            ``Retry-After`` with a 200 whose error is ``maxlag`` [22]_   seconds
===================  ===========================================================  ==============================

A number from 1e15 on is read as epoch microseconds, from 1e12 on as milliseconds, from 1e9 on as seconds, a smaller one
as a distance. Other names that count: ``Rate-Limit-*``, ``X-Rate-Limit-*``, ``-ResetTime``, ``x-ms-retry-after-ms``.
Epochs and dates are corrected by the server's own ``Date``. A header that was sent twice is read with care: fewest
remaining, latest reset. A value that is broken, negative or more than a year off is ignored. ``Age`` tells that the
numbers come out of a cache: they are ignored, a refusal is not.

What counts as a refusal, for ``observe``, :func:`hooks`, :class:`wait_rate_limit` and :class:`retry_if_rate_limited`:

=========  =============================================================================================
status     is a refusal
=========  =============================================================================================
429        always
403        with ``Retry-After``, with a quota that is empty, or if its words or codes say so
503        with ``Retry-After``, or if it says so
400        if it says so
200        if the code of an error in its body says so: ``RATE_LIMITED``, ``THROTTLED``, ``maxlag``
unknown    with ``Retry-After``, or if it says so
others     never, whatever ``Retry-After`` they carry
=========  =============================================================================================

It holds until the time that it names: by ``Retry-After``, its body, a quota that is empty, or a reset that comes alone;
without one for a minute, which doubles while refusals go on, to an hour at most. Where that time is over already, it is
a second that doubles, to a minute at most. A success of the same host, account and resource ends it. A body counts only
if it was read; hooks read that of an error that no header explains.

.. [1] RFC 9110, section 10.2.3, Retry-After
.. [2] draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4
.. [3] draft-ietf-httpapi-ratelimit-headers-07
.. [4] draft-ietf-httpapi-ratelimit-headers-06, section 5
.. [5] docs.gitlab.com, User and IP rate limits, "Response headers"
.. [6] docs.github.com, Rate limits for the REST API
.. [7] docs.github.com, Rate limits and query limits for the GraphQL API
.. [8] platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"
.. [9] console.groq.com/docs/rate-limits, "Rate Limit Headers"
.. [10] learn.microsoft.com/answers/questions/5625878, "x-ratelimit headers values -1, 0"
.. [11] github.com/openai/openai-python and github.com/anthropics/anthropic-sdk-python, ``_base_client.py``
.. [12] docs.anthropic.com, API reference, Rate limits, "Response headers"
.. [13] docs.discord.com/developers/topics/rate-limits, "Header Format"
.. [14] docs.slack.dev/apis/web-api/rate-limits
.. [15] docs.stripe.com/rate-limits
.. [16] shopify.dev/docs/api/admin-rest/usage/rate-limits
.. [17] support.reddithelp.com, Reddit Data API Wiki
.. [18] docs.docker.com, Docker Hub pull usage and limits
.. [19] linear.app/developers/rate-limiting
.. [20] core.telegram.org/bots/api, ResponseParameters
.. [21] google.rpc.RetryInfo, in googleapis/google/rpc/error_details.proto
.. [22] mediawiki.org, Manual:Maxlag parameter
"""

from typing import TYPE_CHECKING

__all__ = ["RateLimit", "hooks", "read_headers", "read_retry_after", "retry_if_rate_limited", "wait_rate_limit"]

if TYPE_CHECKING:
    from ._headers import read_headers, read_retry_after
    from ._hooks import hooks
    from ._limits import RateLimit
    from ._wait import retry_if_rate_limited, wait_rate_limit
else:
    # A module is loaded with the first use of a name in it: `import resumable` stays light.
    _HOMES = {"RateLimit": "_limits", "hooks": "_hooks", "retry_if_rate_limited": "_wait", "wait_rate_limit": "_wait"}

    def __getattr__(name):
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES.get(name, '_headers')}"), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
