"""Buy text embeddings with the stock openai package; a repeated purchase is not charged again.

    TEACHER_API_KEY=sk_... python examples/openai_sdk.py http://127.0.0.1:8000 "a photo of a bird"

The Idempotency-Key header names the purchase. It is derived from what is bought, so a retry by the
package, or a second run of this program, receives the stored answer free of charge.
"""

import hashlib
import json
import os
import sys

import openai


def main() -> None:
    """Buy one embedding per text and print what was charged."""
    url, *texts = sys.argv[1:]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ["TEACHER_API_KEY"])
    model = client.models.list().data[0].id
    purchase = hashlib.sha256(json.dumps([model, texts]).encode()).hexdigest()
    response = client.embeddings.with_raw_response.create(
        model=model, input=texts, extra_headers={"Idempotency-Key": purchase}
    )
    answer = response.parse()
    receipt = (answer.model_extra or {})["receipt"]
    print(f"{len(answer.data)} embeddings of {len(answer.data[0].embedding)} numbers from {model}")
    if response.headers.get("Idempotent-Replayed") == "true":
        print(f"paid for earlier as {receipt['request_id']}; nothing was charged now")
    else:
        print(f"charged {receipt['units']} queries as {receipt['request_id']}")


if __name__ == "__main__":
    main()
