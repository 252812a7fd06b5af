"""Is the textbook function vector of a model with norms wrong in length only?

    .venv/bin/python -m benchmarks.textbook_vectors --model gemma3-270m --layer 10

Both ways of writing, from the same heads, at the same lengths: the textbook vector is
stretched to the length of the true contribution. Test split, first token right.
"""

import argparse

import torch

from seatrial.methods import FunctionVector
from seatrial.model import Model
from seatrial.stats import cluster_share
from seatrial.steering.edits import Add
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import Map
from seatrial.tasks.measure import measure


def compare(model: Model, name: str, layer: int, heads: int) -> None:
    """Print one map."""
    task = Map.of(name, seed=0, limit=60)
    data = task.fit_data(shots=10, limit=24)
    under, titles, vectors = [UNSTEERED], ["unsteered"], []
    for write in ("residual", "textbook"):
        method = FunctionVector(layer, heads, write=write, mean_prompts=60)
        fitted = method.fit(model, data, seed=0)
        [edit] = fitted.edits.values()
        assert isinstance(edit, Add)
        vectors.append(edit.vector)
        stretched = float(vectors[0].norm() / edit.vector.norm())
        for dose in (1, 2, 4):
            under.append(Steering(fitted, dose * stretched))
            titles.append(f"{write}, dose {dose * stretched:.0f}")
    cosine = float(torch.cosine_similarity(*vectors, dim=0))
    lengths = " and ".join(f"{float(vector.norm()):.0f}" for vector in vectors)
    print(f"{name}: lengths {lengths}, cosine {cosine:.2f}")
    for title, scores in zip(titles, measure(model, task, "test", under), strict=True):
        right = [score.metrics["accuracy"] for score in scores]
        print(f"  {title}: {cluster_share(right, [score.group for score in scores])}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.textbook_vectors", description=__doc__
    )
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--maps", nargs="+", default=["present-past", "capitalise"])
    parser.add_argument("--layer", type=int, default=10)
    parser.add_argument("--heads", type=int, default=2)
    options = parser.parse_args()
    model = Model.load(options.model)
    for name in options.maps:
        compare(model, name, options.layer, options.heads)


if __name__ == "__main__":
    main()
