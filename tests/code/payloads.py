"""Messages of webhooks in the forms that GitHub and GitLab document, with what we do not read left out."""

from __future__ import annotations

A, B, C = "a" * 40, "b" * 40, "c" * 40
ZEROS = "0" * 40
REPOSITORY = {"full_name": "team/model", "html_url": "https://github.com/team/model", "pushed_at": 1_700_000_000}
PROJECT = {"path_with_namespace": "group/sub/model", "web_url": "https://gitlab.example.org/group/sub/model"}
MESSAGE = "Ünïcode subject\n\nbody\n\nCo-authored-by: Cy <cy@example.org>\n"

HUB_COMMIT = {
    "id": B,
    "message": MESSAGE,
    "timestamp": "2030-01-01T12:00:00+02:00",
    "url": f"https://github.com/team/model/commit/{B}",
    "author": {"name": "Ann", "email": "ann@example.org", "username": "ann"},
    "committer": {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"},
}
HUB_PUSH = {
    "ref": "refs/heads/main",
    "before": A,
    "after": B,
    "created": False,
    "deleted": False,
    "forced": False,
    "compare": f"https://github.com/team/model/compare/{A[:12]}...{B[:12]}",
    "commits": [HUB_COMMIT],
    "head_commit": HUB_COMMIT,
    "repository": REPOSITORY,
    "pusher": {"name": "bo", "email": "bo@example.org"},
    "sender": {"login": "bo"},
}
HUB_TAG = {**HUB_PUSH, "ref": "refs/tags/churn@v1.0.0", "before": ZEROS, "after": C, "created": True}
"""`after` is the tag object; the commit is that of `head_commit`."""
HUB_DELETED = {**HUB_PUSH, "after": ZEROS, "deleted": True, "head_commit": None}
HUB_MERGE = {
    "action": "closed",
    "number": 7,
    "pull_request": {
        "merged": True,
        "merged_at": "2026-03-01T10:00:00Z",
        "merge_commit_sha": B,
        "title": "Better features",
        "html_url": "https://github.com/team/model/pull/7",
        "user": {"login": "ann"},
        "merged_by": {"login": "bo"},
        "head": {"sha": C, "ref": "features"},
        "base": {"sha": A, "ref": "main"},
    },
    "repository": REPOSITORY,
    "sender": {"login": "bo"},
}
HUB_DEPLOYMENT = {
    "action": "created",
    "deployment_status": {
        "state": "success",
        "environment": "production",
        "description": "Rolled out",
        "log_url": "https://github.com/team/model/actions/runs/1",
    },
    "deployment": {"sha": B, "ref": "main", "environment": "production", "creator": {"login": "bo"}},
    "repository": REPOSITORY,
    "sender": {"login": "robot"},
}
LAB_COMMIT = {
    "id": B,
    "message": MESSAGE,
    "title": "Ünïcode subject",
    "timestamp": "2030-01-01T12:00:00+02:00",
    "url": f"https://gitlab.example.org/group/sub/model/-/commit/{B}",
    "author": {"name": "Ann", "email": "ann@example.org"},
}
LAB_PUSH = {
    "object_kind": "push",
    "event_name": "push",
    "before": A,
    "after": B,
    "ref": "refs/heads/main",
    "checkout_sha": B,
    "user_name": "Bo",
    "user_username": "bo",
    "user_email": "",
    "project": PROJECT,
    "commits": [{**LAB_COMMIT, "id": C}, LAB_COMMIT],
    "total_commits_count": 2,
}
LAB_TAG = {**LAB_PUSH, "object_kind": "tag_push", "ref": "refs/tags/v1", "before": ZEROS, "after": C, "message": "Tag"}
LAB_DELETED = {**LAB_PUSH, "after": ZEROS, "checkout_sha": None, "commits": []}
LAB_MERGE = {
    "object_kind": "merge_request",
    "user": {"name": "Bo", "username": "bo", "email": "[REDACTED]"},
    "project": PROJECT,
    "object_attributes": {
        "action": "merge",
        "state": "merged",
        "title": "Better features",
        "target_branch": "main",
        "merge_commit_sha": None,
        "squash_commit_sha": None,
        "url": "https://gitlab.example.org/group/sub/model/-/merge_requests/7",
        "last_commit": LAB_COMMIT,
    },
}
LAB_DEPLOYMENT = {
    "object_kind": "deployment",
    "status": "success",
    "status_changed_at": "2026-03-01 10:00:00 +0000",
    "deployable_url": "https://gitlab.example.org/group/sub/model/-/jobs/9",
    "environment": "production",
    "project": PROJECT,
    "short_sha": B[:8],
    "user": {"name": "Bo", "username": "bo"},
    "commit_url": f"https://gitlab.example.org/group/sub/model/-/commit/{B}",
    "commit_title": "Better features",
    "ref": "main",
}
