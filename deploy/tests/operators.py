"""What operators accept: the schemas of their resources, as strict as a Kubernetes server with strict field validation."""

import functools

import jsonschema


@functools.cache
def validators():
    """By kind."""
    from cloudcoil.models.keda import v1alpha1 as keda
    from cloudcoil.models.prometheus_operator import v1 as prometheus

    models = (prometheus.PodMonitor, prometheus.PrometheusRule, keda.ScaledObject)
    return {model.__name__: jsonschema.Draft202012Validator(strict(model.model_json_schema(by_alias=True))) for model in models}


def strict(schema):
    """The models pass over fields that they do not know, and take null for any that may be absent."""
    if isinstance(schema, list):
        return [strict(one) for one in schema if one != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        schema.setdefault("additionalProperties", False)
    return schema


def validate(manifest):
    """Raises jsonschema.ValidationError."""
    validators()[manifest["kind"]].validate(manifest)
