"""What existing code does with MLflow's own client, run in the peer's environment; prints one JSON object."""

from __future__ import annotations

import json
import sys


def main(url):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=url, registry_uri=url)
    told = {}

    def refused(call, *arguments):
        try:
            call(*arguments)
        except MlflowException as error:
            return [error.error_code, str(error)]
        return ["", ""]

    def version(found):
        return [found.name, int(found.version), found.tags.get("modelkeep.version"), sorted(found.aliases)]

    model = client.get_registered_model("churn")
    told["model"] = [model.name, model.description, dict(model.aliases), dict(model.tags)]
    told["latest"] = sorted(version(one) for one in client.get_latest_versions("churn"))
    told["production"] = sorted(version(one) for one in client.get_latest_versions("churn", ["Production"]))
    found = client.get_model_version("churn", "1")
    told["version"] = version(found)
    told["details"] = [found.status, found.current_stage, found.description, found.source, found.user_id]
    told["times"] = [found.creation_timestamp, found.last_updated_timestamp]
    told["uri"] = client.get_model_version_download_uri("churn", "2")
    told["by_alias"] = version(client.get_model_version_by_alias("churn", "production"))
    told["newest"] = version(client.get_model_version_by_alias("churn", "latest"))
    told["models"] = [one.name for one in client.search_registered_models()]
    told["like"] = [one.name for one in client.search_registered_models("name LIKE 'ch%'")]
    told["ordered"] = [one.name for one in client.search_registered_models(order_by=["name DESC"])]
    first = client.search_registered_models(max_results=1)
    second = client.search_registered_models(max_results=1, page_token=first.token)
    told["pages"] = [[one.name for one in first], [one.name for one in second], bool(second.token)]
    told["versions"] = [version(one) for one in client.search_model_versions("name = 'churn'")]
    told["high"] = [one.version for one in client.search_model_versions("name = 'churn' and version_number >= 2")]
    told["tagged"] = [one.version for one in client.search_model_versions("tags.`modelkeep.version` = 'v1.0.0'")]
    client.set_registered_model_alias("churn", "canary", "2")
    told["canary"] = version(client.get_model_version_by_alias("churn", "canary"))
    client.set_registered_model_alias("churn", "canary", "1")
    told["moved"] = version(client.get_model_version_by_alias("churn", "canary"))
    client.delete_registered_model_alias("churn", "canary")
    client.delete_registered_model_alias("churn", "never")
    told["gone"] = refused(client.get_model_version_by_alias, "churn", "canary")
    told["no_model"] = refused(client.get_registered_model, "nobody")
    told["no_version"] = refused(client.get_model_version, "churn", "99")
    told["taken_back"] = refused(client.get_model_version, "churn", "3")
    told["bad_filter"] = refused(client.search_registered_models, "name ~ 'x'")
    told["bad_alias"] = refused(client.set_registered_model_alias, "churn", "not a stage", "1")
    told["create"] = refused(client.create_registered_model, "new")
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
