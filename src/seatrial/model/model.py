"""The model as the rest of the house sees it: ask, generate, read; it never changes."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from html import escape
from typing import Literal, ParamSpec, TypeVar, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from seatrial.errors import BadData, BadOption
from seatrial.files import fingerprint, short_hash
from seatrial.model.engine.activations import Moments, Stream, Take, read_states
from seatrial.model.engine.budget import MemoryBudget
from seatrial.model.engine.engine import Engine
from seatrial.model.engine.gates import decide, picked, with_unsteered
from seatrial.model.engine.generate import generate
from seatrial.model.engine.onednn import reordering
from seatrial.model.engine.sampling import Sampling
from seatrial.model.load.load import ModelCard, load_weights
from seatrial.model.load.locate import locate
from seatrial.model.load.small_models import TINY
from seatrial.model.load.tiny import load_tiny
from seatrial.model.read_tokens import read_tokens
from seatrial.model.readings import Readings
from seatrial.model.structure.anatomy import embedding_of
from seatrial.model.structure.blocks import dissect
from seatrial.model.structure.sites import check_belongs, check_sites, site_in, width_at
from seatrial.model.tokens import Encoded, Encoder, SpecialTokens, TokenSelector
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.types import (
    Answer,
    Completion,
    EditedToken,
    Point,
    Prompt,
    Request,
    Site,
    Text,
)

PROBE = "The sea trial of a ship shows what she can do."
"""What a model is asked to tell it from another one."""

P = ParamSpec("P")
T = TypeVar("T")

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()  # pyright: ignore
"""One for each network: calls hang hooks into it, whichever ``Model`` they are made on."""


def _one_at_a_time(method: Callable[P, T]) -> Callable[P, T]:
    """A method of ``Model`` that waits until nobody else uses its network."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        model = args[0]
        assert isinstance(model, Model)
        with model.lock:
            return method(*args, **kwargs)

    return call


_NO_SETTINGS = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")
"""What a config says that changes no answer, or is told by itself."""


@final
class Model:
    """A causal language model and its tokenizer, ready to be asked under steerings.

    Threads may share it: their calls wait for each other. ``engine`` and ``encoder`` are
    for this folder and for ``seatrial.testing``; all else asks the verbs below.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        card: ModelCard,
        *,
        budget: MemoryBudget | None = None,
    ) -> None:
        """Take a loaded network in evaluation mode; ``Model.load`` is the usual way.

        Raises:
            UnsupportedModel: if the parts that steering needs are not found.
        """
        self.card = card
        self.encoder = Encoder(tokenizer)
        self.structure = dissect(network, card.name)
        """Blocks, sublayers, heads and norms, for fitting methods; hold ``lock`` while one
        of their modules is called."""
        self.lock = _locks.setdefault(network, threading.RLock())
        """Held by every call that needs the network or the tokenizer."""
        self.engine = Engine(
            network, self.structure, self.encoder, budget or MemoryBudget(), card.name
        )
        self.readings = Readings(self.engine.budget.reading_bytes)
        """Activations that methods ask for again and again; they put them here."""

    @staticmethod
    def load(
        name: str, *, dtype: str = "auto", device: str = "auto", revision: str | None = None
    ) -> "Model":
        """Load by hub id, local folder, GGUF file, or the name of a registered small model.

        ``"tiny"`` is a random Llama, made in memory in a moment.

        Raises:
            UnknownName, Unreachable, BadFile, BadOption, UnsupportedModel: see
            ``model.load``.
        """
        if name == TINY and revision is None:
            return Model(*load_tiny(dtype=dtype, device=device))
        return Model(
            *load_weights(locate(name, revision=revision), dtype=dtype, device=device)
        )

    @property
    def identity(self) -> str:
        """Name, source and fingerprint of the weights."""
        return self.card.identity

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"<Model {self.card.name}: {facts}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table><caption>{escape(self.card.name)}</caption>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        """What one wants to see of a model, by name."""
        heads = sorted({self.heads_in(layer) for layer in range(self.n_layers)})
        return {
            "source": self.card.source,
            "fingerprint": self.card.fingerprint,
            "dtype": self.dtype,
            "device": str(self.engine.device),
            "blocks": str(self.n_layers),
            "width": str(self.d_model),
            "heads in a block": " or ".join(map(str, heads)),
            "engine": self.engine.describe(),
        }

    @cached_property
    def fingerprints(self) -> tuple[str, str, str]:
        """What answers rest on: hashes of weights and of how texts are read, and dtype."""
        config = json.loads(self.engine.network.config.to_json_string(use_diff=False))
        settings = {k: v for k, v in config.items() if k not in _NO_SETTINGS}
        weights = fingerprint([self.card.fingerprint, settings])
        return weights, self.encoder.fingerprint, self.dtype

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.structure.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.structure.d_model

    @property
    def n_heads(self) -> int:
        """Number of attention heads in all blocks together."""
        return sum(map(self.heads_in, range(self.n_layers)))

    def heads_in(self, layer: int) -> int:
        """Number of attention heads of a block; 0 where none were found."""
        heads = self.structure.blocks[layer].heads
        return heads.n_heads if heads else 0

    @property
    def dtype(self) -> str:
        """Precision that the model computes in."""
        return str(self.engine.network.dtype).removeprefix("torch.")

    @property
    def is_chat(self) -> bool:
        """Whether it has a chat template, so that conversations are asked as such."""
        return self.encoder.is_chat

    @property
    def is_tied(self) -> bool:
        """Whether one matrix both embeds and unembeds tokens."""
        unembedding = self.structure.unembedding.weight
        assert isinstance(unembedding, Tensor)
        return embedding_of(self.engine.network).data_ptr() == unembedding.data_ptr()

    @property
    def special(self) -> SpecialTokens:
        """Ids of the tokens that stand for no text."""
        return self.encoder.special

    @_one_at_a_time
    def tokens(self, text: Prompt | Text, *, bare: bool = False) -> tuple[int, ...]:
        """Token ids of a text as the model reads it.

        Args:
            text: a prompt, which a chat model gets by its template, or one with its
                completion.
            bare: of plain text, leave out what the tokenizer adds (a beginning-of-sequence
                token).

        Raises:
            BadData: for a text without tokens, unless it is bare.
            BadOption: for a bare conversation or completion, which there is not.
        """
        if bare:
            if not isinstance(text, str):
                raise BadOption("only plain text has bare tokens; give a string")
            return self.encoder.bare_ids(text)
        if isinstance(text, Text):
            return self.encoder.encode_text(text).ids
        return self.encoder.prompt_ids(text)

    def count(self, text: str) -> int:
        """How many tokens plain text is, without what the tokenizer adds."""
        return len(self.tokens(text, bare=True))

    @_one_at_a_time
    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens."""
        return self.encoder.decode(ids)

    @_one_at_a_time
    def answer_tokens(self, request: Request) -> tuple[Encoded, ...]:
        """Token ids of a request's prompt with each answer, and where scoring begins.

        Raises:
            BadData: for answers without tokens, or without anything before them.
        """
        return self.encoder.encode(request.prompt, request.answers)

    @_one_at_a_time
    def read_tokens(self, text: Text, at: TokenSelector) -> str:
        """The tokens that a selector reads of a text, once they are what it means.

        Raises:
            BadData: if they are not, or the text has no such token.
            BadOption: for an unknown selector.
        """
        return read_tokens(self.encoder, text, at)

    @contextmanager
    def session(self, *, passes: bool = True) -> Iterator[None]:
        """Many calls about the same texts: what they have in common is done once.

        Unsteered passes are remembered until the end (``MemoryBudget.cache_bytes``), and on
        a processor the weights are kept in its own order (``weight_bytes``), which changes
        results in their last bits. The weights must not be changed meanwhile. Other threads
        may go on asking the model, but take no part.

        Args:
            passes: ``False`` keeps the weights only, and has every pass made anew, inside
                another session too.
        """
        with (
            reordering(self.engine.budget.weight_bytes),
            self.engine.remembering(passes),
        ):
            yield

    def site(
        self, layer: int | Literal["first", "middle", "last"], point: Point = "resid"
    ) -> Site:
        """A place in this model, checked.

        Raises:
            BadOption: for a layer that does not exist.
            UnsupportedModel: for a point that this block does not have.
        """
        return site_in(self.structure, self.card.name, layer, point)

    def width(self, site: Site) -> int:
        """Width of the activations at a site.

        Raises:
            BadOption: for a layer that does not exist.
            UnsupportedModel: for a point that this block does not have.
        """
        return width_at(self.structure, self.site(site.layer, site.point))

    @_one_at_a_time
    def log_probs(
        self,
        requests: Sequence[Request],
        under: Sequence[Steering] = (UNSTEERED,),
        *,
        kl: bool = False,
        top: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> list[list[Answer]]:
        """How likely each answer is, under each steering: ``[steering][request]``.

        Args:
            requests: prompts with candidate answers.
            under: interventions with doses; dose 0 is the unsteered model bit for bit.
            kl: also give KL(steered || unsteered) of the next token at each token.
            top: also say which tokens are the most likely ones.
            progress: told which share of the work is done, now and then.

        Raises:
            BadData: for answers without tokens, or without anything before them.
            ForeignIntervention: for a steering that was fitted on another model.
            SteeringFault: for edits that cannot reach a score, did not run, or overflowed.
        """
        for intervention, _ in under:
            self.check(intervention)
        if not requests:
            return [[] for _ in under]
        prompts = [request.prompt for request in requests]
        acting = decide(self.activations, prompts, under, self.dtype)
        answer = partial(self.engine.answer, kl=kl, top=top, progress=progress)
        if all(map(all, acting)):
            return answer(requests, under)
        return picked(answer(requests, with_unsteered(under, acting)), acting)

    @_one_at_a_time
    def generate(
        self,
        prompts: Sequence[Prompt],
        under: Sequence[Steering] = (UNSTEERED,),
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """Continue each prompt under each steering: ``[steering][prompt]``.

        Raises:
            BadOption: for a sampling option outside its range.
            ForeignIntervention, SteeringFault, BadData: as ``log_probs``.
        """
        for intervention, _ in under:
            self.check(intervention)
        sampling = Sampling(max_tokens, temperature, top_p, seed, tuple(stop))
        if not prompts:
            return [[] for _ in under]
        acting = decide(self.activations, prompts, under, self.dtype)
        return generate(self.engine, prompts, under, sampling, acting)

    @_one_at_a_time
    def activations(
        self, texts: Sequence[Text], sites: Sequence[Site], at: TokenSelector
    ) -> dict[Site, Float[Tensor, "text width"]]:
        """Activations of the unsteered model, one row a text, in float32 on the CPU.

        Args:
            texts: what the model reads.
            sites: where to look; all of them in one pass.
            at: which tokens; a span is averaged.
        """
        states = {site: torch.zeros(len(texts), self.width(site)) for site in sites}

        def take(site: Site, text: int, h: Tensor) -> None:
            states[site][text] = h.float().mean(0).cpu()

        self._read(texts, sites, at, take)
        return states

    @_one_at_a_time
    def token_activations(
        self, ids: Sequence[Sequence[int]], sites: Sequence[Site]
    ) -> list[dict[Site, Float[Tensor, "token width"]]]:
        """Activations of the unsteered model at every token, text by text.

        Args:
            ids: token ids of each text, the beginning-of-sequence token included.
            sites: where to look; all of them in one pass.

        Returns:
            For each text, by site, one row a token, in float32 on the CPU.

        Raises:
            BadData: for a text without tokens, or too long for the model.
        """
        check_sites(self.structure, sites, self.card.name)
        if not all(ids):
            raise BadData("a text without tokens has no activations; give it some text")
        self.engine.check_context(max(map(len, ids), default=0))
        states: list[dict[Site, Tensor]] = [{} for _ in ids]

        def take(site: Site, text: int, h: Tensor) -> None:
            states[text][site] = h.float().cpu()

        read_states(self.engine, ids, [(0, len(text)) for text in ids], sites, take)
        return states

    @_one_at_a_time
    def moments(
        self,
        texts: Sequence[Text],
        sites: Sequence[Site],
        at: TokenSelector | Literal["all"],
    ) -> dict[Site, Moments]:
        """Mean and covariance of activations, without keeping them; in one pass.

        Args:
            texts: what the unsteered model reads.
            sites: where to look.
            at: which tokens, as in ``activations``: one activation a text. ``"all"``
                takes every token of every text but the beginning-of-sequence token as an
                activation of its own.
        """
        streams = {site: Stream(self.width(site)) for site in sites}

        def take(site: Site, text: int, h: Tensor) -> None:
            streams[site].add(h if at == "all" else h.float().mean(0, keepdim=True))

        self._read(texts, sites, "mean" if at == "all" else at, take)
        return {site: stream.moments() for site, stream in streams.items()}

    @_one_at_a_time
    @torch.inference_mode()
    def unembed(
        self, h: Float[Tensor, "row d_model"], norm: Literal["final", "none"] = "final"
    ) -> Float[Tensor, "row vocabulary"]:
        """Logits of states of the residual stream, in float32 on the CPU.

        Args:
            h: states, as ``activations`` gives them, or vectors.
            norm: whether they pass the final norm first. A vector that is added before it
                has no norm of its own: ``"none"`` says which words it points to.

        Raises:
            UnsupportedModel: if the final norm is asked for and was not found.
        """
        h = h.to(self.engine.network.dtype).to(self.engine.device)
        return self.engine.reader.logits(h, norm).cpu()

    def _read(
        self, texts: Sequence[Text], sites: Sequence[Site], at: TokenSelector, take: Take
    ) -> None:
        check_sites(self.structure, sites, self.card.name)
        encoded = [self.encoder.encode_text(text) for text in texts]
        spans = [self.encoder.read_span(text, at) for text in encoded]
        self.engine.check_context(max((len(text.ids) for text in encoded), default=0))
        read_states(self.engine, [text.ids for text in encoded], spans, sites, take)

    @_one_at_a_time
    def where(self, request: Request, intervention: Intervention) -> list[EditedToken]:
        """The position audit: which real tokens of a request an intervention edits.

        None, where it has a gate that stays shut for the prompt.
        """
        if intervention.gate and not self.acts_on([request.prompt], intervention)[0]:
            return []
        return self.encoder.where(request, intervention)

    @_one_at_a_time
    def acts_on(
        self, prompts: Sequence[Prompt], intervention: Intervention
    ) -> tuple[bool, ...]:
        """Whether an intervention acts on each prompt: its gate opens, or it has none.

        Raises:
            ForeignIntervention, BadOption, UnsupportedModel: as ``check``.
            BadData: for a prompt without a token to read.
        """
        self.check(intervention)
        under = [Steering(intervention)]
        return decide(self.activations, prompts, under, self.dtype)[0]

    def check(self, intervention: Intervention) -> None:
        """Refuse an intervention that does not belong to this model.

        Raises:
            ForeignIntervention: fitted on a model of another identity, or of another width.
            BadOption: a layer that this model does not have.
            UnsupportedModel: a site that this model does not have.
        """
        check_belongs(intervention, self.structure, self.card)

    @_one_at_a_time
    def header(self) -> Mapping[str, str | int]:
        """What a run records about the model."""
        probe = self.encoder.prompt_ids(PROBE)
        ids = torch.tensor([probe], device=self.engine.device)
        with torch.inference_mode():
            logits = self.engine.network(input_ids=ids).logits[0, -1].float().cpu()
        rounded = (logits * 1000).round().to(torch.int64).numpy().tobytes()
        return {
            "model": self.identity,
            "dtype": self.dtype,
            "device": str(self.engine.device),
            "layers": self.n_layers,
            "heads": self.n_heads,
            "d_model": self.d_model,
            "engine": self.engine.describe(),
            "logit fingerprint": short_hash([rounded]),
        }
