"""What is done to a registry: register, promote, roll back, take back, deprecate; each is one tag that GTO reads.

Who does it and when is what git says of a tag. Two who do the same at once are told apart by git: the tag of one is
made, the other gets Conflict. What has a count takes the next one and tries again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from modelkeep.core.clock import MINUTE, SECOND
from modelkeep.core.errors import BadInput, Conflict, Denied, Missing
from modelkeep.models.events import Key, message
from modelkeep.models.names import FIRST, Part, TagName, bumped, check_model, check_stage, check_version, precedence
from modelkeep.models.registry import Registry, Version
from modelkeep.models.state import Model

if TYPE_CHECKING:
    from modelkeep.code.tags import Tag

Trailers = Sequence[tuple[Key, str]]
_TRIES: Final = 20
_NEAR_NS: Final = MINUTE
_SETTINGS: Final = ".gto"


class Done(NamedTuple):
    """What a verb did.

    Args:
        version: which version it was about.
        tags: the tags that were made; none when nothing had to be done.
        before: who stood in the stage before; None for other verbs, and when nobody did.
    """

    version: Version
    tags: tuple[str, ...]
    before: Version | None = None


def register(
    registry: Registry,
    name: str,
    version: str = "",
    *,
    bump: Part | None = None,
    rev: str = "HEAD",
    text: str = "",
    trailers: Trailers = (),
    by: str = "",
) -> Version:
    """Registers a commit as a version of a model, and gives it.

    Args:
        registry: of a repository.
        name: of the model.
        version: such as `v1.2.0`; the one after the highest when empty.
        bump: which of its numbers goes up; the last when None.
        rev: the commit, or a name for it.
        text: what you want to say about it.
        trailers: what it was made of, see `models.version.made`.
        by: who does it, `Name <address>`; git's own user when empty.

    Raises:
        Conflict: the version is registered, or the commit has one already; the hint says what to do.
        Missing: there is no such commit.
        BadInput: GTO would refuse the name or the version.
    """
    check_model(name)
    given = check_version(version) if version else ""
    if given and bump:
        raise BadInput(f"{given}: a version and which number goes up are one too many", hint="Leave one of them out.")
    commit = registry.git.resolve(rev)
    with _writing(registry):
        for _ in range(_TRIES):
            model = _model(registry, name)
            _check_free(registry, name, given, commit)
            highest = _highest(model)
            wanted = given or (bumped(highest, bump or "patch") if highest else FIRST)
            try:
                _create(registry, TagName("register", name, wanted), commit, text=text, trailers=trailers, by=by)
            except Conflict:
                registry.refresh()
                if given or _known(registry, name, wanted) is None:
                    _check_free(registry, name, given, commit)
                    raise
                continue
            return registry.resolve(f"{name}@{wanted}")
    raise Conflict(f"{name}: others register versions all the time", hint="Name a version, or try again.")


def promote(registry: Registry, asked: str, stage: str, *, text: str = "", by: str = "") -> Done:
    """Puts a version into a stage; who stood there before makes room.

    Where it stands there already, nothing is done.

    Args:
        registry: of a repository.
        asked: the version, such as `churn@v1.2.0`, `churn@5` or `churn@staging`.
        stage: such as `production`.
        text: why.
        by: who does it; git's own user when empty.

    Raises:
        Missing: there is no such version.
        BadInput: GTO would refuse the stage, or the repository's `.gto` does not name it.
    """
    check_stage(stage)
    _check_allowed(registry, stage)
    with _writing(registry):
        version = registry.resolve(asked)
        before = registry.stages(version.model).get(stage)
        if before is not None and before.version == version.version:
            return Done(version, (), before)
        return _assign(registry, version, stage, before, text=text, by=by)


def rollback(registry: Registry, name: str, stage: str, *, text: str = "", by: str = "") -> Done:
    """Puts the version back into a stage that stood there before the present one.

    Rolling back again goes further back: what was rolled back from is not come back to.

    Args:
        registry: of a repository.
        name: of the model.
        stage: such as `production`.
        text: why.
        by: who does it; git's own user when empty.

    Raises:
        Missing: nothing stood there before, or nothing that still holds.
    """
    check_stage(stage)
    with _writing(registry):
        model = registry.artifact(name)
        now = model.stages.get(stage)
        earlier = [one for one in _stack(registry, model, stage) if now is None or one.version != now.version]
        sound = [one for one in earlier if one.active]
        if not sound:
            raise _no_way_back(name, stage, now, earlier)
        off = now.version if now else ""
        return _assign(registry, sound[-1], stage, now, text=text, by=by, trailers=(("Rollback", off),))


def unassign(
    registry: Registry, name: str, stage: str, *, version: str = "", text: str = "", by: str = ""
) -> list[Done]:
    """Takes versions out of a stage.

    Who was assigned earlier would stand there again, as with GTO; so all of them are taken out unless one is named.

    Args:
        registry: of a repository.
        name: of the model.
        stage: such as `production`.
        version: only this one, such as `v1.2.0`.
        text: why.
        by: who does it; git's own user when empty.

    Raises:
        Missing: no version stands in that stage, or not this one.
    """
    check_stage(stage)
    with _writing(registry):
        model = registry.artifact(name)
        wanted = registry.resolve(f"{name}@{version}", hidden=True).version if version else ""
        found = [one for one in model.assigned(stage) if not wanted or one.version == wanted]
        if not found:
            have = ", ".join(model.stages) or "none"
            raise Missing(f"{name}: {version or 'no version'} does not stand in {stage}", hint=f"Stages in use: {have}")
        done = []
        for one in found:
            tag = TagName("unassign", name, stage=stage)
            made = _counted(registry, tag, one.commit, one.version, text=text, by=by)
            done.append(Done(one, (made,), one if one.version == found[-1].version else None))
        return done


def deregister(registry: Registry, asked: str, *, text: str = "", by: str = "") -> Done:
    """Takes a version back: it stands in no stage any more, and is hidden; its number is never given again.

    Args:
        registry: of a repository.
        asked: the version, such as `churn@v1.2.0`.
        text: why.
        by: who does it; git's own user when empty.

    Raises:
        Missing: there is no such version, or it was deregistered already.
        Conflict: it was never registered; it only stands in a stage.
    """
    with _writing(registry):
        version = registry.resolve(asked)
        if not version.registered:
            raise Conflict(
                f"{version.name} was never registered; it stands in {', '.join(version.stages) or 'no stage'}",
                hint=f"Take it out: modelkeep model unassign {version.model} STAGE",
            )
        tag = TagName("deregister", version.model, version.version)
        made = _simple(registry, tag, version.commit, text=text, by=by)
        return Done(registry.resolve(f"{version.model}@{version.version}", hidden=True), (made,))


def deprecate(registry: Registry, name: str, *, text: str = "", by: str = "") -> str:
    """Hides a model and gives the tag that does so; its versions can still be had. Its next event shows it again.

    Args:
        registry: of a repository.
        name: of the model.
        text: why.
        by: who does it; git's own user when empty.

    Raises:
        Missing: there is no such model.
        Conflict: it was deprecated already.
    """
    with _writing(registry):
        model = registry.artifact(name)
        if model.deprecated is not None:
            raise Conflict(f"{name} was deprecated by {model.deprecated.by}", hint="See it: modelkeep model list --all")
        commit = model.events[-1].commit if model.events else "HEAD"
        return _simple(registry, TagName("deprecate", name), commit, text=text, by=by)


def send(registry: Registry, tags: Sequence[str], remote: str) -> None:
    """Sends tags and annotations to another repository; tags that it refuses are taken back here.

    Args:
        registry: of the repository that has them.
        tags: just made.
        remote: its name or address.

    Raises:
        Conflict: somebody else was first; nothing is left of the attempt.
        Unreachable: it does not answer; the tags stay here, to be sent later.
    """
    from modelkeep.code.tags import delete, push

    try:
        push(registry.git, tags, remote=remote, notes=True)
    except Conflict as error:
        for tag in tags:
            delete(registry.git, tag)
        registry.refresh()
        raise Conflict(
            f"{error.message}; nothing was done here either",
            hint=f"Get what others did (git fetch --tags {remote}), then do it again.",
        ) from None


# The parts of which the above is made


@contextmanager
def _writing(registry: Registry) -> Iterator[None]:
    """One verb at a time in one clone; what was read before counts no more."""
    from modelkeep.code.lock import held

    folder = registry.git.folder / "modelkeep"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Denied(f"{folder}: {error.strerror}", hint="Look at who may write there.") from None
    with held(folder / "registry.lock"):
        registry.refresh()
        yield
        registry.keep()


def _model(registry: Registry, name: str) -> Model | None:
    try:
        return registry.artifact(name)
    except Missing:
        return None


def _check_free(registry: Registry, name: str, given: str, commit: str) -> None:
    """Refuses a version that is taken, and a commit that has one: GTO reads no registry with two at one commit."""
    known = _known(registry, name, given) if given else None
    here = registry.at_commit(name, commit)
    if known is not None and known not in here:
        raise Conflict(
            f"{_told(known)}, at commit {known.commit[:12]}",
            hint=f"A version never changes; take the next: modelkeep model register {name} "
            f"{bumped(_highest(_model(registry, name)))}",
        )
    if here:
        raise Conflict(
            f"{_told(here[-1])} at this commit, and a commit has one version",
            hint="Take that one."
            if here[-1].active
            else f"Give it a new commit: git commit --allow-empty -m 'Register {name} again'",
        )


def _told(known: Version) -> str:
    from modelkeep.core.times import iso

    since = "" if known.active else ", then deregistered"
    return f"{known.name} was registered by {known.by} at {iso(known.at_ns)}{since}"


def _highest(model: Model | None) -> str:
    """The highest version that was ever registered, or nothing."""
    names = (one.version for one in model.versions if one.registered) if model else ()
    return max(names, key=precedence, default="")


def _known(registry: Registry, name: str, version: str) -> Version | None:
    model = _model(registry, name)
    return next((one for one in model.versions if one.version == version), None) if model else None


def _assign(
    registry: Registry,
    version: Version,
    stage: str,
    before: Version | None,
    *,
    text: str,
    by: str,
    trailers: Trailers = (),
) -> Done:
    tag = TagName("assign", version.model, stage=stage)
    made = _counted(registry, tag, version.commit, version.version, text=text, by=by, trailers=trailers)
    return Done(registry.resolve(f"{version.model}#{stage}"), (made,), before)


def _counted(
    registry: Registry, tag: TagName, commit: str, version: str, *, text: str, by: str, trailers: Trailers = ()
) -> str:
    """Makes a tag with the next count; where somebody else took it, with the one after that."""
    for _ in range(_TRIES):
        counted = tag._replace(number=registry.next_count(tag.model))
        try:
            _create(registry, counted, commit, version, text=text, by=by, trailers=trailers)
        except Conflict:
            before = counted.number
            registry.refresh()
            if registry.next_count(tag.model) <= before:
                raise
            continue
        return str(counted)
    raise Conflict(f"{tag.model}: others change its stages all the time", hint="Try again.")


def _simple(registry: Registry, tag: TagName, commit: str, *, text: str, by: str) -> str:
    """Makes a tag without a count, or with one when the name was used before, as GTO does."""
    from modelkeep.code.tags import tag as tag_of

    if tag_of(registry.git, str(tag)) is not None:
        return _counted(registry, tag, commit, "", text=text, by=by)
    _create(registry, tag, commit, text=text, by=by)
    return str(tag)


def _create(
    registry: Registry, tag: TagName, commit: str, version: str = "", *, text: str, by: str, trailers: Trailers = ()
) -> Tag:
    from modelkeep.code.tags import create

    if not tag.number:
        trailers = (*_place(registry, tag), *trailers)
    told = message(tag, version, text=text, trailers=trailers) + "\n"
    made = create(registry.git, str(tag), commit, told, by=by, at_ns=_moment(registry, tag.model))
    registry.take(made)
    return made


def _place(registry: Registry, tag: TagName) -> Trailers:
    """What an event without a count says about its place among the others."""
    model = _model(registry, tag.model)
    number = (model.next_number if model else 1) - (tag.action != "register")
    return ("Number", str(number)), ("After", str(registry.next_count(tag.model) - 1))


def _moment(registry: Registry, name: str) -> int | None:
    """When an event is dated: now, or the second after the latest event of this second.

    GTO orders by the second alone. A clock that is far behind an earlier event's is not followed.
    """
    model = _model(registry, name)
    latest = max((event.at_ns for event in model.events), default=0) if model else 0
    now = time.time_ns() // SECOND * SECOND
    return latest + SECOND if now <= latest < now + _NEAR_NS else None


def _stack(registry: Registry, model: Model, stage: str) -> list[Version]:
    """Who stood in a stage one before the other, the present one last; a rollback goes down instead of up."""
    known = {one.version: one for one in model.versions}
    found: list[str] = []
    for event in model.events:
        if event.stage != stage:
            continue
        if event.action == "unassign":
            found = [one for one in found if one != event.version]
        elif "Rollback" in event.trailers and event.version in found:
            del found[len(found) - found[::-1].index(event.version) :]
        elif found[-1:] != [event.version]:
            found.append(event.version)
    return [known[one] for one in found]


def _no_way_back(name: str, stage: str, now: Version | None, earlier: Sequence[Version]) -> Missing:
    if earlier:
        gone = ", ".join(dict.fromkeys(one.version for one in earlier))
        what = f"{name}: what stood in {stage} before was deregistered: {gone}"
    elif now is None:
        what = f"{name}: no version ever stood in {stage}"
    else:
        what = f"{name}: nothing stood in {stage} before {now.version}"
    return Missing(what, hint=f"Say where to: modelkeep model promote {name}@VERSION {stage}")


def _check_allowed(registry: Registry, stage: str) -> None:
    """Refuses a stage that the repository's `.gto` does not name, when it names any."""
    path = registry.git.root / _SETTINGS
    if registry.git.bare or not path.is_file():
        return
    from modelkeep.data.formats.metafile import document_of

    named = document_of(path.read_bytes() or b"{}", path).get("stages")
    if isinstance(named, list) and named and stage not in named:
        raise BadInput(
            f"{stage} is no stage of this repository: {path} names {', '.join(map(str, named))}",
            hint="Take one of them, or add it there.",
        )
