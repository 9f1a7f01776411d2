"""Both clients against a real daemon on the shipped model."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import psutil
import pytest
from support.daemons import Launch
from support.faces import Faces

from glmd import control, keys, paths
from glmd.errors import (
    ConnectionFailed,
    ContextOverflow,
    DaemonError,
    DaemonNotRunning,
    DaemonTimeout,
    InvalidRequest,
    ModelError,
    NotFound,
    Refused,
)
from glmd.facts import DaemonFacts
from glmd.frontends.python_api import Client, Stage, Timeouts


@pytest.fixture
def client(shared_daemon: DaemonFacts, connect: Faces) -> Any:
    return connect()


def test_a_stream_is_the_whole_answer_in_pieces(client: Any) -> None:
    whole = client.chat("你好", preset="greedy")
    assert whole.text
    assert whole.finish_reason == "stop"
    stream = client.stream("你好", preset="greedy")
    pieces = list(stream)
    result = stream.result()
    assert "".join(delta.text for delta in pieces) == result.text == whole.text
    assert [token for delta in pieces for token in delta.tokens] == whole.token_ids
    assert len(pieces) > 1
    assert result.usage.completion_tokens == len(whole.token_ids)
    assert 0 < result.timings.first_token_ms <= result.timings.total_ms


def test_a_seed_repeats_an_answer(client: Any) -> None:
    first = client.chat("hello", temperature=1.5)
    again = client.chat("hello", temperature=1.5, seed=first.seed)
    assert again.token_ids == first.token_ids


def test_stages_replace_the_chain(client: Any) -> None:
    stages = [Stage("top_k", {"k": 1})]
    greedy = client.chat("hello", preset="greedy")
    assert client.chat("hello", sampling=stages).token_ids == greedy.token_ids


def test_a_completion_of_ids(client: Any) -> None:
    opening = client.tokenize(messages="any").tokens[:2]  # [gMASK] sop
    prompt = opening + client.tokenize("glmd start").tokens
    result = client.complete(
        prompt, preset="greedy", max_tokens=12, ignore_eos=True, logprobs=3, prompt_logprobs=True
    )
    assert len(result.token_ids) == 12
    assert result.finish_reason == "length"
    assert [item.token for item in result.logprobs] == result.token_ids
    assert [item.token for item in result.prompt_logprobs] == prompt[1:]
    for item in result.logprobs:
        best = [logprob for _, _, logprob in item.top]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert item.logprob == best[0]  # greedy takes the likeliest
    text = client.complete("glmd start", preset="greedy", max_tokens=12, ignore_eos=True)
    assert text.token_ids == result.token_ids


def test_several_answers(client: Any) -> None:
    result = client.chat("hello", n=3, seed=1, temperature=1.0, max_tokens=8)
    assert [choice.index for choice in result.choices] == [0, 1, 2]
    assert result.usage.completion_tokens == sum(len(c.token_ids) for c in result.choices)


def test_a_stop_string(client: Any) -> None:
    whole = client.chat("你好", preset="greedy").text
    stop = whole[3:6]
    result = client.chat("你好", preset="greedy", stop=stop)
    assert result.text == whole[: whole.index(stop)]
    assert result.choices[0].stop == stop


def test_text_to_ids_and_back(client: Any) -> None:
    for text in ("你好, glmd", "emoji 🦙 and 龘", "<|user|> is text here"):
        tokens = client.tokenize(text)
        assert len(tokens.pieces) == len(tokens.tokens)
        assert client.detokenize(tokens.tokens) == text
    prompt = client.tokenize(messages="你好").tokens
    assert client.chat("你好", max_tokens=1).usage.prompt_tokens == len(prompt)


def test_errors_of_the_daemon_are_typed(client: Any) -> None:
    with pytest.raises(ContextOverflow):
        client.chat("word " * 2000)
    with pytest.raises(InvalidRequest, match="no_such_stage"):
        client.chat("hello", sampling=[Stage("no_such_stage")])
    for mistaken in ("mirostat", ["mirostat"], Stage("mirostat")):
        with pytest.raises(InvalidRequest, match="sampling is a list of Stages") as caught:
            client.chat("hello", sampling=mistaken)
        assert "sampling=[glmd.Stage('mirostat')]" in caught.value.hint
    with pytest.raises(NotFound):
        client.sessions.get("nothing")
    with pytest.raises(NotFound):
        client.chat("hello", session="nothing")


def test_sessions_are_kept_and_shared(client: Any, connect: Faces) -> None:
    session = client.sessions.new("A title").session
    first = client.chat("你好", session=session, preset="greedy")
    assert first.session == session
    second = client.chat("What is glmd?", session=session, preset="greedy")
    assert second.usage.prompt_tokens > first.usage.prompt_tokens

    other = connect()
    found = other.sessions.get(session)
    assert [stored.content.role for stored in found.tree] == ["user", "assistant"] * 2
    assert found.leaf == second.choices[0].message_id
    assert session in [info.session for info in other.sessions.list()]

    again = other.chat([], session=session, parent=first.user_message_id, seed=5, temperature=1.0)
    tree = client.sessions.get(session).tree
    assert len(tree) == 5
    assert tree[-1].parent == first.user_message_id
    assert tree[-1].message == again.choices[0].message_id

    client.sessions.rename(session, "Another")
    assert client.sessions.get(session).info.title == "Another"
    client.sessions.delete(session)
    with pytest.raises(NotFound):
        client.sessions.get(session)


def test_sessions_belong_to_their_principal(client: Any) -> None:
    alice = client.acting_for("alice")
    session = alice.sessions.new("Hers").session
    assert [info.session for info in alice.sessions.list()] == [session]
    with pytest.raises(NotFound):
        client.acting_for("bob").sessions.get(session)
    alice.sessions.delete(session)


def busy_slots(client: Any) -> int:
    return sum(replica.slots_busy for replica in client.status().replicas)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_leaving_early_frees_the_engine(client: Any) -> None:
    for _ in client.stream_complete("a", ignore_eos=True):
        break
    wait_until(lambda: client.status().running == 0)
    with client.stream_complete("a", ignore_eos=True) as stream:
        next(iter(stream))
        stream.cancel()
        result = stream.result()
    assert result.finish_reason == "cancelled"
    assert result.token_ids


def test_a_detached_answer_is_taken_up_by_another_client(client: Any, connect: Faces) -> None:
    reference = client.chat("What is glmd?", preset="greedy")
    first = connect()
    stream = first.stream("What is glmd?", preset="greedy", detached=True)
    deltas = iter(stream)  # held, since leaving an iteration cancels
    seen = [next(deltas)]
    first.close()
    taken = client.attach(stream.id, from_seq=1)
    seen += list(taken)
    assert "".join(delta.text for delta in seen) == reference.text
    assert [delta.seq for delta in seen] == list(range(len(seen)))
    assert taken.result().finish_reason == "stop"
    with pytest.raises(NotFound):
        client.acting_for("mallory").attach(stream.id).result()


def test_a_detached_request_reaches_the_daemon_before_its_client_closes(
    client: Any, connect: Faces
) -> None:
    reference = client.chat("What is glmd?", preset="greedy")
    for _ in range(5):
        first = connect()
        request = first.stream("What is glmd?", preset="greedy", detached=True).id
        gc.collect()
        first.close()
        assert client.attach(request).result().text == reference.text


def test_an_attached_answer_can_be_cancelled(client: Any, connect: Faces) -> None:
    first = connect()
    stream = first.stream_complete("a", ignore_eos=True, detached=True)
    deltas = iter(stream)
    next(deltas)
    first.close()
    with client.attach(stream.id) as taken:
        assert next(iter(taken)).seq == 0
    wait_until(lambda: client.status().running == 0)


def test_facts_are_told_as_they_change(client: Any) -> None:
    topics = set()
    with client.subscribe("model", "replicas") as events:
        for event in events:
            topics.add(event.topic)
            if len(topics) == 2:
                break
    assert topics == {"model", "replicas"}
    assert list(events) == []


def test_status_counts(client: Any) -> None:
    before = client.status()
    client.chat("你好", max_tokens=1)
    after = client.status()
    assert after.requests_served == before.requests_served + 1
    assert after.model_loads == 1
    assert after.state == "ready"
    assert after.backend == "cpu"


def test_threads_stream_at_once(shared_daemon: DaemonFacts) -> None:
    """Different questions with the same seeds, alone and all at once: the same answers."""
    with Client() as client:
        _ask_alone_and_together(client)


def _ask_alone_and_together(client: Client) -> None:
    questions = [f"How do I use {count} cards?" for count in range(1, 7)]
    alone = [client.chat(question, seed=3, max_tokens=24).token_ids for question in questions]
    together: dict[int, list[int]] = {}

    def ask(index: int) -> None:
        with client.stream(questions[index], seed=3, max_tokens=24) as stream:
            together[index] = [token for delta in stream for token in delta.tokens]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[index] for index in range(len(questions))] == alone


def test_a_restarted_daemon_is_found_again(launch: Launch, connect: Faces) -> None:
    first = launch()
    client = connect()
    assert client.status().boot_id == first.boot_id
    stream = client.stream_complete("a", ignore_eos=True)
    deltas = iter(stream)
    next(deltas)
    control.stop_daemon(first.name, drain=False)
    with pytest.raises(DaemonError, match="stopping"):
        stream.result()
    with pytest.raises(DaemonNotRunning):
        client.chat("你好")
    second = launch()
    assert client.status().boot_id == second.boot_id != first.boot_id
    assert client.chat("你好", max_tokens=4).text


def test_a_killed_daemon_is_noticed_at_once(daemon: DaemonFacts, connect: Faces) -> None:
    client = connect()
    stream = client.stream_complete("a", ignore_eos=True)
    deltas = iter(stream)
    next(deltas)
    core = psutil.Process(daemon.pid)
    family = [core, *core.children(recursive=True)]
    core.kill()
    with pytest.raises(ConnectionFailed, match="lost"):
        stream.result()
    with pytest.raises(DaemonNotRunning):
        client.status()
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_daemon_on_tcp_lets_in_whom_it_knows(launch: Launch, connect: Faces) -> None:
    facts = launch(listen="tcp://127.0.0.1:*")
    endpoint = facts.endpoints[1]
    own = keys.own("client").public.hex()

    stranger = connect(endpoint=endpoint, server_key=facts.server_key)
    with pytest.raises(ConnectionFailed, match=f"refused.*authorized_clients must hold {own}"):
        stranger.status()

    (paths.keys_dir() / "authorized_clients").write_text(f"{own} this test\n")
    assert stranger.chat("你好", max_tokens=4).text

    with pytest.raises(Refused, match="known_daemons"):
        connect(endpoint=endpoint).status()
    (paths.keys_dir() / "known_daemons").write_text(f"{endpoint} {facts.server_key}\n")
    assert connect(endpoint=endpoint).status().boot_id == facts.boot_id

    impatient = Timeouts(connect=1.0)
    with pytest.raises(ConnectionFailed, match="known_daemons"):
        connect(endpoint=endpoint, server_key=own, timeouts=impatient).status()
    with pytest.raises(ConnectionFailed, match="64 hex digits"):
        connect(endpoint=endpoint, server_key="short").status()


def test_the_model_is_reloaded_under_an_answer(launch: Launch, connect: Faces) -> None:
    launch()
    client = connect()
    whole = client.complete("a", seed=1, max_tokens=300, ignore_eos=True)
    stream = client.stream_complete("a", seed=1, max_tokens=300, ignore_eos=True)
    pieces = iter(stream)
    first = next(pieces)
    status = client.reload()
    assert (status.model_loads, status.reload.state) == (2, "done")
    assert [*first.tokens, *(t for delta in pieces for t in delta.tokens)] == whole.token_ids
    with pytest.raises(ModelError, match="is not there"):
        client.reload("not there")
    with pytest.raises(DaemonTimeout, match="did not end within 0 s"):
        client.reload(timeout=0)


def test_the_model_is_not_reloaded_from_afar(launch: Launch, connect: Faces) -> None:
    started = launch(listen="tcp://127.0.0.1:*")
    (paths.keys_dir() / "authorized_clients").write_text(f"{keys.own('client').public.hex()} me\n")
    far = connect(endpoint=started.endpoints[1], server_key=started.server_key)
    with pytest.raises(Refused, match="own machine"):
        far.reload()
    assert far.status().model_loads == 1
