"""Holds a description against the specification of OpenAPI.

    python3 -m pip install openapi-spec-validator==0.9.0
    python3 validate.py openapi.json

The exit code is 0 when it is valid, 1 when it is not.
"""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        description = json.load(file)
    errors = list(OpenAPIV31SpecValidator(description).iter_errors())
    for error in errors:
        print(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
