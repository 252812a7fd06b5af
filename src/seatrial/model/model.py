"""The model as the rest of the house sees it: ask, generate, read; it never changes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from seatrial.errors import BadData
from seatrial.model.engine.activations import Moments, Stream, Take, read
from seatrial.model.engine.budget import Budget
from seatrial.model.engine.engine import Engine
from seatrial.model.engine.gates import decide, picked, with_unsteered
from seatrial.model.engine.generate import generate
from seatrial.model.engine.sampling import Sampling
from seatrial.model.load.load import ModelCard, load
from seatrial.model.load.locate import locate
from seatrial.model.structure.blocks import dissect
from seatrial.model.structure.sites import check_belongs, check_sites, site_in, width_at
from seatrial.model.tokens import Encoder, TokenSelector
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


@final
class Model:
    """A causal language model and its tokenizer, ready to be asked under steerings."""

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        card: ModelCard,
        *,
        budget: Budget | None = None,
    ) -> None:
        """Take a loaded network in evaluation mode; ``Model.load`` is the usual way.

        Raises:
            UnsupportedModel: if the parts that steering needs are not found.
        """
        self.card = card
        self.encoder = Encoder(tokenizer)
        self.anatomy = dissect(network, card.name)
        self.engine = Engine(
            network, self.anatomy, self.encoder, budget or Budget(), card.name
        )

    @staticmethod
    def load(
        name: str, *, dtype: str = "auto", device: str = "auto", revision: str | None = None
    ) -> "Model":
        """Load by hub id, local folder, GGUF file, or the name of a registered small model.

        Raises:
            UnknownName, Unreachable, BadFile, BadOption, UnsupportedModel: see
            ``model.load``.
        """
        return Model(*load(locate(name, revision=revision), dtype=dtype, device=device))

    @property
    def identity(self) -> str:
        """Name, source and fingerprint of the weights."""
        return self.card.identity

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.anatomy.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.anatomy.d_model

    @property
    def dtype(self) -> str:
        """Precision that the model computes in."""
        return str(self.engine.network.dtype).removeprefix("torch.")

    def site(
        self, layer: int | Literal["first", "middle", "last"], point: Point = "resid"
    ) -> Site:
        """A place in this model, checked.

        Raises:
            BadOption: for a layer that does not exist.
            UnsupportedModel: for a point that this block does not have.
        """
        return site_in(self.anatomy, self.card.name, layer, point)

    def width(self, site: Site) -> int:
        """Width of the activations at a site.

        Raises:
            BadOption: for a layer that does not exist.
            UnsupportedModel: for a point that this block does not have.
        """
        return width_at(self.anatomy, self.site(site.layer, site.point))

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
        gates = decide(self.activations, prompts, under, self.dtype)
        answer = partial(self.engine.answer, kl=kl, top=top, progress=progress)
        if all(map(all, gates)):
            return answer(requests, under)
        return picked(answer(requests, with_unsteered(under, gates)), gates)

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
        gates = decide(self.activations, prompts, under, self.dtype)
        return generate(self.engine, prompts, under, sampling, gates)

    def activations(
        self, texts: Sequence[Text], sites: Sequence[Site], at: TokenSelector
    ) -> dict[Site, Float[Tensor, "text width"]]:
        """Activations of the unsteered model, one row a text, in float32 on the CPU.

        Args:
            texts: what the model reads.
            sites: where to look; all of them in one pass.
            at: which tokens; a span is averaged.
        """
        found = {site: torch.zeros(len(texts), self.width(site)) for site in sites}

        def take(site: Site, text: int, h: Tensor) -> None:
            found[site][text] = h.float().mean(0).cpu()

        self._read(texts, sites, at, take)
        return found

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
        check_sites(self.anatomy, sites, self.card.name)
        if not all(ids):
            raise BadData("a text without tokens has no activations; give it some text")
        self.engine.check_context(max(map(len, ids), default=0))
        found: list[dict[Site, Tensor]] = [{} for _ in ids]

        def take(site: Site, text: int, h: Tensor) -> None:
            found[text][site] = h.float().cpu()

        read(self.engine, ids, [(0, len(text)) for text in ids], sites, take)
        return found

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

    def _read(
        self, texts: Sequence[Text], sites: Sequence[Site], at: TokenSelector, take: Take
    ) -> None:
        check_sites(self.anatomy, sites, self.card.name)
        encoded = [self.encoder.encode_text(text) for text in texts]
        spans = [self.encoder.read_span(text, at) for text in encoded]
        self.engine.check_context(max((len(text.ids) for text in encoded), default=0))
        read(self.engine, [text.ids for text in encoded], spans, sites, take)

    def where(self, request: Request, intervention: Intervention) -> list[EditedToken]:
        """The position audit: which real tokens of a request an intervention edits.

        None, where it has a condition that does not hold for the prompt.
        """
        if intervention.condition and not self.acts_on([request.prompt], intervention)[0]:
            return []
        return self.encoder.where(request, intervention)

    def acts_on(
        self, prompts: Sequence[Prompt], intervention: Intervention
    ) -> tuple[bool, ...]:
        """Whether an intervention acts on each prompt: its condition holds, or it has none.

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
        check_belongs(intervention, self.anatomy, self.card)

    def header(self) -> Mapping[str, str | int]:
        """What a run records about the model."""
        probe = self.encoder.prompt_ids("The sea trial of a ship shows what she can do.")
        ids = torch.tensor([probe], device=self.engine.device)
        with torch.inference_mode():
            logits = self.engine.network(input_ids=ids).logits[0, -1].float().cpu()
        rounded = (logits * 1000).round().to(torch.int64).numpy().tobytes()
        return {
            "model": self.identity,
            "dtype": self.dtype,
            "device": str(self.engine.device),
            "layers": self.n_layers,
            "d_model": self.d_model,
            "engine": self.engine.describe(),
            "logit fingerprint": hashlib.sha256(rounded).hexdigest()[:12],
        }
