"""Is each file a valid OpenAPI document, and does each example in it fit its schema?"""

import sys

import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:document"


def media(document):
    """Each media type object, with where it stands."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"].items()
            places = [("request", operation.get("requestBody", {})), *answers]
            for place, holder in places:
                for kind, found in holder.get("content", {}).items():
                    yield f"{method} {path} {place} {kind}", found
    for name, answer in document["components"]["responses"].items():
        for kind, found in answer["content"].items():
            yield f"{name} {kind}", found


def located(part):
    """The same with references that tell which document they mean."""
    if isinstance(part, dict):
        return {key: DOCUMENT + value if key == "$ref" else located(value) for key, value in part.items()}
    return [located(item) for item in part] if isinstance(part, list) else part


class Loader(yaml.SafeLoader):
    """Times stay the texts that they are in JSON."""


Loader.yaml_implicit_resolvers = {
    first: [known for known in resolvers if known[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def check(name):
    with open(name, encoding="utf-8") as file:
        document = yaml.load(file, Loader=Loader)
    validate(document)
    resource = Resource(contents=located(document), specification=DRAFT202012)
    registry = Registry().with_resource(DOCUMENT, resource)
    wrong, count = [], 0
    for place, found in media(document):
        if "example" not in found:
            wrong.append(f"{place}: no example")
            continue
        validator = OAS31Validator(located(found["schema"]), registry=registry)
        for error in validator.iter_errors(found["example"]):
            wrong.append(f"{place}: {error.json_path}: {error.message}")
        count += 1
    print(f"{name}: {count} examples")
    return [f"{name}: {line}" for line in wrong]


faults = [fault for name in sys.argv[1:] for fault in check(name)]
print("\n".join(faults))
sys.exit(1 if faults else 0)
