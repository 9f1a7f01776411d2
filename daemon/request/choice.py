"""One answer to a request: tokens become deltas."""

from __future__ import annotations

from collections.abc import Sequence

from glmd.chat import Message, ToolCall
from glmd.daemon.chat.answer import AnswerParser, Part
from glmd.daemon.engine.messages import Token
from glmd.daemon.request.logprobs import token_logprob
from glmd.daemon.request.stops import StopStrings
from glmd.daemon.tokenizer.detokenizer import Detokenizer
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.wire.replies import Call, FinishReason, Text, TokenLogprob

Content = Text | Call


class Choice:
    """Feed tokens, get what the client may see of them.

    Every token is in exactly one delta: the first one sent once its text is known, or the last. So
    the tokens of all deltas joined are what the model made, the id that ended the answer included.
    `made` counts them. `finish_reason` is None while the answer goes on.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str],
        parser: AnswerParser | None,
        *,
        continues: bool = False,
    ) -> None:
        """`parser`: for the answer to a chat, whose first and last spaces are dropped as ChatGLM3
        does; None for a plain text, given exactly. `continues`: that text has a beginning."""
        self._tokenizer = tokenizer
        self._parser = parser
        self._detokenizer = Detokenizer(tokenizer, continues=continues)
        self._stops = StopStrings(stops)
        self._spaces = ""  # dropped if no text follows
        self._tokens: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._text: list[str] = []
        self._call: ToolCall | None = None
        self.made = 0
        self.finish_reason: FinishReason | None = None

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer."""
        return self._stops.met

    @property
    def begun(self) -> bool:
        """Whether there is any answer yet."""
        return bool(self._text) or self._call is not None

    @property
    def message(self) -> Message:
        """The answer so far, as a turn of the conversation."""
        return Message("assistant", "".join(self._text), tool_call=self._call)

    def token(self, token: Token) -> list[Content]:
        """The deltas that `token` completes. The answer ends when the engine says so, or by what
        the token means: then the engine has to be told."""
        deltas: list[Content] = []
        if token.token >= 0:
            self.made += 1
            self._tokens.append(token.token)
            if token.logprob is not None:
                self._logprobs.append(token_logprob(self._tokenizer, token.token, token.logprob))
            deltas = self._send(self._read(token.token))
        if self.finish_reason is not None:
            return deltas + self._rest()
        return deltas if token.finish is None else deltas + self.end(token.finish)

    def end(self, reason: FinishReason) -> list[Content]:
        """What is left when no token will follow. A stop string or a call that is found in it is
        the reason instead, unless the answer was cancelled."""
        parts = self._parse(self._detokenizer.finish())
        if self._parser is not None:
            parts += self._parser.finish()
        deltas = self._send(parts)
        if self.finish_reason is None:
            deltas += self._say(self._stops.finish())
        if self.finish_reason is None or reason == "cancelled":
            self.finish_reason = reason
        return deltas + self._rest()

    def _read(self, token: int) -> list[Part]:
        if self._parser is None or token != self._tokenizer.special["<|assistant|>"]:
            return self._parse(self._detokenizer.feed([token]))
        return self._parse(self._detokenizer.finish()) + self._parser.next_segment()

    def _parse(self, text: str) -> list[Part]:
        return [text] if self._parser is None else self._parser.feed(text)

    def _send(self, parts: Sequence[Part]) -> list[Content]:
        deltas: list[Content] = []
        for part in parts:
            if isinstance(part, str):
                deltas += self._say(self._stops.feed(part))
                if self._stops.met is not None:
                    self.finish_reason = "stop"
                    break
            else:
                deltas += self._say(self._stops.finish())
                deltas.append(Call(part, *self._behind()))
                self._call = part
                # What a model writes behind a call it writes without knowing the result.
                self.finish_reason = "tool_call"
                break
        return deltas

    def _say(self, text: str) -> list[Content]:
        if self._parser is not None:
            text = self._spaces + text
            self._spaces = text[len(text.rstrip()) :]
            text = text.rstrip()
        if not text:
            return []
        self._text.append(text)
        return [Text(text, *self._behind())]

    def _rest(self) -> list[Content]:
        return [Text("", *self._behind())] if self._tokens else []

    def _behind(self) -> tuple[list[int], list[TokenLogprob]]:
        """The tokens that no delta has had yet."""
        taken = self._tokens, self._logprobs
        self._tokens, self._logprobs = [], []
        return taken
