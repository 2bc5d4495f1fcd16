"""Conversations every template is rendered with."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The \"current\" weather <in> a city & more",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "e.g. Zürich"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "days": {"type": "integer", "minimum": 1},
                    "spots": {"type": "array", "items": {"type": "number"}},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "", "parameters": {}}},
]


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(arguments, name="get_weather", id="abcdefghi"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content, id="abcdefghi"):
    return {"role": "tool", "name": "get_weather", "tool_call_id": id, "content": content}


CONVERSATIONS = {
    "one": [user("Why is the sky blue?")],
    "system": [system("You are helpful."), user("Hi"), assistant("Hello!"), user("  A \n joke ")],
    "multi": [user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
    "ends_with_assistant": [system("s"), user("a"), assistant("b")],
    "unicode": [
        system("日本語で 🦙"),
        user("¿Qué? «naïve» \u00a0 'q\"uote' <b>&amp;</b> \\n"),
        assistant("ünïcödé\n\n"),
        user("ok"),
    ],
    "empty_texts": [system(""), user(""), assistant(""), user("")],
    "thinking": [
        user("2+2?"),
        assistant("<think>\nlet me see\n</think>\n\n4"),
        user("3+3?"),
        assistant("6", reasoning_content="three plus three"),
        user("4+4?"),
    ],
    "tool_call": [
        system("sys"),
        user("Weather?"),
        assistant(
            "",
            tool_calls=[call({"city": "Zürich", "days": 2, "f": 1.5, "b": True, "n": None})],
        ),
        result('{"t": 20}'),
        assistant("It is 20."),
        user("thanks"),
    ],
    "tool_calls": [
        user("Weather?"),
        assistant(
            None,
            reasoning_content="both",
            tool_calls=[call({"city": "A"}), call('{"city": "B"}', id="123456789")],
        ),
        result("sunny"),
        result("rain", "123456789"),
    ],
    "parts": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image"}],
        },
        assistant([{"type": "text", "text": "ok"}]),
        user("x"),
    ],
    "bad_order": [user("a"), user("b"), assistant("c")],
    "no_messages": [],
}

CASES = {}
for _name, _messages in CONVERSATIONS.items():
    for _prompt in (True, False):
        CASES[f"{_name}{'/prompt' if _prompt else ''}"] = {
            "messages": _messages,
            "add_generation_prompt": _prompt,
            "bos_token": "<s>",
            "eos_token": "</s>",
        }
for _name in ("one", "tool_call", "tool_calls", "thinking"):
    CASES[f"{_name}/tools"] = {
        "messages": CONVERSATIONS[_name],
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "tools": TOOLS,
        "enable_thinking": False,
        "date_string": "01 Jan 2025",
        "documents": [{"title": "T", "text": "body"}],
    }
