"""The registry of models: what git's tags say about versions and stages, answered from one reading of them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.models.events import Event, Problem
from modelkeep.models.names import Asked, asked, check_model, precedence
from modelkeep.models.shelf import Shelf
from modelkeep.models.state import Held, Model, State, Version

if TYPE_CHECKING:
    from modelkeep.code.repository import Git
    from modelkeep.code.tags import Tag

__all__ = ["Event", "Held", "Model", "Problem", "Registry", "Version"]

_NEAR: Final = 3


class Registry:
    """The models of one git repository.

    Tags are read once, on the first question; after a verb of `models.register` they are read again.

    Args:
        git: the repository.
    """

    def __init__(self, git: Git) -> None:
        self.git: Final = git

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf(self.git)

    def refresh(self) -> None:
        """Has the next question read the tags again."""
        self.__dict__.pop("_shelf", None)

    def take(self, tag: Tag) -> None:
        """Takes in a tag that was just made here, without reading the others again."""
        self._shelf.take(tag)

    def keep(self) -> None:
        """Keeps what was taken in for the next process."""
        self._shelf.keep()

    def artifacts(self, *, hidden: bool = False) -> list[Model]:
        """Gives the models, sorted by name.

        Args:
            hidden: deprecated ones, too, and those whose versions are all deregistered.
        """
        found = [self._shelf.model(name) for name in sorted(self._shelf.names)]
        return [one for one in found if hidden or (one.deprecated is None and any(v.active for v in one.versions))]

    def artifact(self, name: str) -> Model:
        """Gives one model; deprecated ones, too.

        Raises:
            Missing: there is none of this name; near names are in the hint.
            BadInput: it is no name for a model.
        """
        if name not in self._shelf.names:
            raise self._unknown(check_model(name))
        return self._shelf.model(name)

    def versions(self, name: str, *, hidden: bool = False) -> list[Version]:
        """Gives the versions of a model in order of their numbers.

        Args:
            name: of the model.
            hidden: deregistered ones, too, and those that only stand in a stage.

        Raises:
            Missing: there is no such model.
        """
        model = self.artifact(name)
        return [*model.versions] if hidden else model.active

    def stages(self, name: str) -> dict[str, Version]:
        """Gives which version of a model stands in which stage, sorted by stage.

        As with GTO, it is the one that was assigned last among those that were neither unassigned nor deregistered.

        Raises:
            Missing: there is no such model.
        """
        return dict(self.artifact(name).stages)

    def history(self, name: str) -> list[Event]:
        """Gives everything that happened to a model, in order.

        Raises:
            Missing: there is no such model.
        """
        return [*self.artifact(name).events]

    def held(self, name: str, stage: str) -> list[Held]:
        """Gives who stood in a stage from which event on, in order.

        Raises:
            Missing: there is no such model.
        """
        model = self.artifact(name)
        known = {one.version: one for one in model.versions}
        state = State()
        found: list[Held] = []
        for event in model.events:
            state.take(event)
            holder = state.holder(stage)
            if (found[-1].version.version if found and found[-1].version else "") != holder:
                found.append(Held(known.get(holder), event))
        return found

    def problems(self, name: str = "") -> list[Problem]:
        """Gives what tags say in contradiction, of one model or of all."""
        unread = [one for one in self._shelf.problems if not name or one.model == name]
        names = [name] if name else sorted(self._shelf.names)
        return unread + [one for each in names if each in self._shelf.names for one in self._shelf.model(each).problems]

    def resolve(self, text: str, *, hidden: bool = False) -> Version:
        """Gives the version that a text asks for.

        Args:
            text: `churn@v1.2.0`, `churn@v1` (the highest of them), `churn@5` (the fifth registered), `churn@production`
                or `churn#production`, `churn@latest` (the highest), or `churn@` and a commit.
            hidden: a deregistered version may be meant, too.

        Raises:
            BadInput: it is no such text, or names the model alone.
            Missing: there is no such model, version or stage; the hint says what there is.
        """
        want = asked(text)
        model = self.artifact(want.model)
        if not want.kind:
            choices = [*model.stages, *(["latest"] if model.latest else [])]
            raise BadInput(
                f"{want.model}: which version?", hint=f"Say it, for example {want.model}@{(choices or ['v1.0.0'])[0]}"
            )
        found = self._found(model, want)
        if found is None:
            raise _no_version(model, want)
        if found.gone is not None and not hidden:
            raise _deregistered(found)
        return found

    def at_commit(self, name: str, commit: str) -> list[Version]:
        """Gives the registered versions of a model at a commit, deregistered ones among them."""
        model = self._shelf.model(name) if name in self._shelf.names else None
        return [one for one in model.versions if one.commit == commit and one.registered] if model else []

    def next_count(self, name: str) -> int:
        """Gives the count that the next event of a model carries behind its `#`."""
        return self._shelf.counts.get(name, 0) + 1

    # The parts of which the above is made

    def _found(self, model: Model, want: Asked) -> Version | None:
        if want.kind == "latest":
            return model.latest
        if want.kind == "number":
            return next((one for one in model.versions if one.number == int(want.value)), None)
        if want.kind == "version":
            return next((one for one in model.versions if one.version == want.value), None)
        if want.kind == "commit":
            return _only([one for one in model.versions if one.commit.startswith(want.value)], want)
        return model.stages.get(want.value) or (_highest(model, want.value) if want.kind == "line" else None)

    def _unknown(self, name: str) -> Missing:
        from difflib import get_close_matches

        known = sorted(self._shelf.names)
        near = get_close_matches(name, known, n=_NEAR, cutoff=0.5)
        unread = next((one for one in self._shelf.problems if one.model == name), None)
        if unread is not None:
            hint = f"The tag {unread.tag} {unread.what}. {unread.hint}"
        elif near:
            hint = f"Near: {', '.join(near)}"
        elif known:
            hint = "See what there is: modelkeep model list"
        elif self.git.shallow:
            hint = "This clone is shallow and may lack tags; get them: git fetch --tags"
        else:
            hint = f"Get the tags (git fetch --tags), or register a first version: modelkeep model register {name}"
        return Missing(f"{name}: no such model in {self.git.root}", hint=hint)


def _highest(model: Model, line: str) -> Version | None:
    """The highest version that begins with `v1` or `v1.2`."""
    start = f"v{line.removeprefix('v')}."
    return max(
        (one for one in model.active if one.version.startswith(start)),
        key=lambda one: precedence(one.version),
        default=None,
    )


def _only(found: list[Version], want: Asked) -> Version | None:
    if len({one.commit for one in found}) > 1:
        raise Conflict(f"{want.model}@{want.value}: several commits begin like this", hint="Give more of the id.")
    return found[-1] if found else None


def _no_version(model: Model, want: Asked) -> Missing:
    from difflib import get_close_matches

    if want.kind == "latest":
        return Missing(
            f"{model.name}: no version is registered", hint=f"Register one: modelkeep model register {model.name}"
        )
    if want.kind == "stage":
        have = ", ".join(f"{stage} ({one.version})" for stage, one in model.stages.items())
        return Missing(
            f"{model.name}: no version stands in {want.value}",
            hint=f"There is: {have}" if have else f"Put one there: modelkeep model promote {model.name}@latest STAGE",
        )
    near = get_close_matches(want.value, [one.version for one in model.active][-1000:], n=_NEAR, cutoff=0.5)
    hint = f"Near: {', '.join(near)}" if near else f"See what there is: modelkeep model list {model.name}"
    return Missing(f"{model.name}: no version {want.value}", hint=hint)


def _deregistered(one: Version) -> Missing:
    from modelkeep.core.times import iso

    gone = one.gone
    told = f" by {gone.by} on {iso(gone.at_ns)[:10]}" if gone else ""
    return Missing(
        f"{one.name} was deregistered{told}",
        hint=f"Take another one: modelkeep model list {one.model}",
    )
