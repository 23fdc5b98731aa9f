"""duet serve as the official OpenAI client sees it: streamed or not, sync or async, errors as its own exceptions.

    python openai_client.py DUET
"""
import asyncio
import os
import subprocess
import sys

import openai

DUET = sys.argv[1]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUESTION = [{"role": "user", "content": "c? c=d+1 d=e-3 a=6 e=a+4"}]


def models(name):
    return [f"{ROOT}/models/{name}-M", f"{ROOT}/models/{name}-m"]


def start():
    big, small = models("register")
    env = dict(os.environ, DUET_TEST_KEY="secret")
    server = subprocess.Popen([DUET, "serve", "-M", big, "-m", small, "--port", "0", "--api-key-env", "DUET_TEST_KEY"],
                              stderr=subprocess.PIPE, text=True, env=env)
    for line in server.stderr:
        if "listening on" in line:
            return server, line.split("listening on ")[1].split()[0].rstrip("/") + "/v1"
    raise SystemExit("openai: the server did not start")


def check_whole(answer):
    message, usage = answer.choices[0].message, answer.usage
    assert message.content == "1", message
    assert message.reasoning_content, message
    assert answer.choices[0].finish_reason == "stop"
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens > 0
    assert usage.prompt_tokens_details.cached_tokens >= 0
    assert answer.duet["M"]["output_tokens"] == usage.completion_tokens_details.reasoning_tokens


class Joined:
    def __init__(self):
        self.signal = self.content = ""
        self.usage = self.finish = None

    def add(self, chunk):
        for choice in chunk.choices:
            self.signal += getattr(choice.delta, "reasoning_content", None) or ""
            self.content += choice.delta.content or ""
            self.finish = choice.finish_reason or self.finish
        self.usage = chunk.usage or self.usage

    def check(self, whole):
        assert self.content == whole.choices[0].message.content
        assert self.signal == whole.choices[0].message.reasoning_content
        assert self.finish == "stop"
        assert self.usage.completion_tokens == whole.usage.completion_tokens


def refused(call, kind, param=None, code=None):
    try:
        call()
    except kind as e:
        assert param is None or e.param == param, e.param
        assert code is None or e.code == code, e.code
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def sync(url):
    client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
    create = client.chat.completions.create
    assert {m.id for m in client.models.list()} == {"duet", "duet-M", "duet-m"}
    whole = create(model="duet", messages=QUESTION, seed=1)
    check_whole(whole)
    joined = Joined()
    with create(model="duet", messages=QUESTION, seed=1, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            joined.add(chunk)
    joined.check(whole)
    short = create(model="duet@2", messages=QUESTION, max_completion_tokens=3)
    assert short.usage.completion_tokens <= 3 and short.duet["M"]["output_tokens"] == 2
    several = create(model="duet", messages=QUESTION, n=3, temperature=1, logprobs=True, top_logprobs=2)
    assert len(several.choices) == 3
    assert all(len(t.top_logprobs) == 2 for t in several.choices[0].logprobs.content)
    refused(lambda: create(model="duet-m", messages=QUESTION, response_format={"type": "json_object"}), openai.BadRequestError,
            "response_format")  # this small vocabulary cannot write JSON, and the server says so
    refused(lambda: create(model="gpt", messages=QUESTION), openai.NotFoundError, "model", "model_not_found")
    refused(lambda: create(model="duet", messages=QUESTION, temperature=-1), openai.BadRequestError, "temperature")
    refused(lambda: create(model="duet", messages=QUESTION, extra_body={"x": 1}), openai.BadRequestError, "x", "unknown_parameter")
    refused(lambda: create(model="duet", messages=[{"role": "user", "content": "a=1 " * 4000}]), openai.BadRequestError, None,
            "context_length_exceeded")
    wrong = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    refused(lambda: wrong.models.list(), openai.AuthenticationError, None, "invalid_api_key")


async def several_at_once(url):
    async with openai.AsyncOpenAI(base_url=url, api_key="secret", max_retries=0) as client:
        create = client.chat.completions.create

        async def stream():
            joined = Joined()
            async for chunk in await create(model="duet", messages=QUESTION, seed=1, stream=True, stream_options={"include_usage": True}):
                joined.add(chunk)
            return joined

        whole = await create(model="duet", messages=QUESTION, seed=1)
        check_whole(whole)
        for joined in await asyncio.gather(*(stream() for _ in range(16))):
            joined.check(whole)


server, url = start()
try:
    sync(url)
    asyncio.run(several_at_once(url))
finally:
    server.terminate()
    code = server.wait(20)
assert code == 0, code
print(f"openai {openai.__version__}: sync, async, whole and streamed: ok")
