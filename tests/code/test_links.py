"""Addresses of pages, from every form in which a remote is written."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.code.links import commit_url, compare_url

A, B = "a" * 40, "b" * 40
HUB = "https://github.com/team/model"
LAB = "https://gitlab.com/group/sub/deep/model"


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("git@github.com:team/model.git", HUB + "/commit/"),
        ("git@github.com:team/model", HUB + "/commit/"),
        ("github.com:team/model.git", HUB + "/commit/"),
        ("https://github.com/team/model.git", HUB + "/commit/"),
        ("https://github.com/team/model/", HUB + "/commit/"),
        ("https://x-access-token:ghs_Secret@github.com/team/model.git", HUB + "/commit/"),
        ("https://ghp_Secret@github.com/team/model.git?a=Secret#Secret", HUB + "/commit/"),
        ("ssh://git@github.com:22/team/model.git", HUB + "/commit/"),
        ("ssh://git@ssh.github.com:443/team/model.git", HUB + "/commit/"),
        ("git://github.com/team/model.git", HUB + "/commit/"),
        ("git@ghe.example.org:team/model.git", "https://ghe.example.org/team/model/commit/"),
        ("git@gitlab.com:group/sub/deep/model.git", LAB + "/-/commit/"),
        ("https://oauth2:glpat-Secret@gitlab.com/group/sub/deep/model.git", LAB + "/-/commit/"),
        ("ssh://git@altssh.gitlab.com:443/group/sub/deep/model.git", LAB + "/-/commit/"),
        ("ssh://git@gitlab.example.org:2222/g/m.git", "https://gitlab.example.org/g/m/-/commit/"),
        ("https://code.example.org:8443/g/s/m.git", "https://code.example.org:8443/g/s/m/-/commit/"),
        ("http://gitlab.local/g/m.git", "http://gitlab.local/g/m/-/commit/"),
        ("http://[::1]:3000/g/m.git", "http://[::1]:3000/g/m/commit/"),
        ("git@bitbucket.org:team/model.git", "https://bitbucket.org/team/model/commits/"),
        ("https://me@bitbucket.org/team/model.git", "https://bitbucket.org/team/model/commits/"),
        ("https://bb.example.org/scm/PRJ/m.git", "https://bb.example.org/projects/PRJ/repos/m/commits/"),
        ("ssh://git@bb.example.org:7999/~ann/m.git", "https://bb.example.org/users/ann/repos/m/commits/"),
        ("git@github.com:team/mödel x.git", "https://github.com/team/m%C3%B6del%20x/commit/"),
    ],
)
def test_every_form_of_a_remote_leads_to_its_page(remote: str, page: str) -> None:
    assert commit_url(remote, A) == page + A


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("git@github.com:team/model.git", f"{HUB}/compare/{A}...{B}"),
        ("git@gitlab.com:group/sub/deep/model.git", f"{LAB}/-/compare/{A}...{B}"),
        ("git@bitbucket.org:t/m.git", f"https://bitbucket.org/t/m/branches/compare/{B}..{A}"),
        (
            "https://bb.example.org/scm/P/m.git",
            f"https://bb.example.org/projects/P/repos/m/compare/commits?targetBranch={A}&sourceBranch={B}",
        ),
    ],
)
def test_what_changed_is_a_page_too(remote: str, page: str) -> None:
    assert compare_url(remote, A, B) == page


def test_the_kind_can_be_said_where_the_name_does_not_tell() -> None:
    assert commit_url("git@git.example.org:g/m.git", A, kind="gitlab") == f"https://git.example.org/g/m/-/commit/{A}"


@pytest.mark.parametrize(
    "remote",
    ["", "/srv/git/m.git", "../m", "file:///srv/m.git", "C:/work/m.git", "work:team/m.git", "git@github.com:m.git",
     "https://github.com", "https:///a/b", "javascript://github.com/a/b", "ext::sh -c x", "https://a b/c/d",
     "https://github.com/../x", "https://[::1/x/y", "git@evil.example\n.org:a/b"],
)  # fmt: skip
def test_what_no_browser_could_open_has_no_page(remote: str) -> None:
    assert commit_url(remote, A) == compare_url(remote, A, B) == ""


@pytest.mark.parametrize("commit", ["", "main", "abc", "A" * 40, "a" * 40 + "\n", "../x", "a" * 65])
def test_only_a_commits_id_is_linked(commit: str) -> None:
    assert commit_url("git@github.com:t/m.git", commit) == compare_url("git@github.com:t/m.git", A, commit) == ""


PARTS = st.sampled_from(
    ["https://", "ssh://", "git@", "me:s3cret@", "s3cret@", "me.x:s3cret@", "github.com", "host.example", ":", ":22",
     "/", "team/m.git", "a b", "?s3cret", "#s3cret", "\n", "<", '"', "é"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=8).map("".join))
def test_no_secret_and_nothing_but_a_web_address_comes_out(remote: str) -> None:
    url = commit_url(remote, A)
    assert "s3cret" not in url
    assert not url or (urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname)
    assert url.isascii()
    assert not set(url) & set(' "<>\n@')
