"""The model as the rest of the house sees it: ask, generate, read; it never changes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from seatrial.errors import BadOption, ForeignIntervention
from seatrial.intervention import UNSTEERED, Intervention, Steering
from seatrial.model.activations import Moments, Stream, Take, read
from seatrial.model.blocks import dissect
from seatrial.model.budget import Budget
from seatrial.model.engine import Engine
from seatrial.model.generate import Sampling, generate
from seatrial.model.hooks import check_sites
from seatrial.model.load import ModelCard, load, locate
from seatrial.model.tokens import Encoder, TokenSelector
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
        named = {"first": 0, "middle": self.n_layers // 2, "last": self.n_layers - 1}
        number = named.get(layer, layer) if isinstance(layer, str) else layer
        if not isinstance(number, int) or not 0 <= number < self.n_layers:
            raise BadOption(
                f"layer {layer} does not exist in {self.card.name!r}; its layers are 0 to "
                f"{self.n_layers - 1}, or first, middle, last. Negative layers are "
                "refused: a saved intervention must mean one thing."
            )
        site = Site(number, point)
        check_sites(self.anatomy, [site], self.card.name)
        return site

    def width(self, site: Site) -> int:
        """Width of the activations at a site."""
        heads = self.anatomy.blocks[site.layer].heads
        if site.point == "heads":
            assert heads is not None
            return heads.n_heads * heads.d_head
        return self.d_model

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
        return self.engine.answer(requests, under, kl=kl, top=top, progress=progress)

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
        return (
            generate(self.engine, prompts, under, sampling)
            if prompts
            else [[] for _ in under]
        )

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
        """The position audit: which real tokens of a request an intervention edits."""
        return self.encoder.where(request, intervention)

    def check(self, intervention: Intervention) -> None:
        """Refuse an intervention that does not belong to this model.

        Raises:
            ForeignIntervention: fitted on a model of another identity, or of another width.
            BadOption: a layer that this model does not have.
            UnsupportedModel: a site that this model does not have.
        """
        pairs = [pair for part in intervention.parts for pair in part.edits.items()]
        for site, edit in pairs:
            width = self.width(self.site(site.layer, site.point))
            if edit.width != width:
                raise ForeignIntervention(
                    f"the edit at site {site} is {edit.width} wide, but {self.card.name!r} "
                    f"is {width} wide there; fit it on this model"
                )
        for layer in intervention.readout.layers if intervention.readout else ():
            if not -1 <= layer < self.n_layers:
                raise BadOption(
                    f"the readout looks at layer {layer}, but {self.card.name!r} has the "
                    f"layers 0 to {self.n_layers - 1}, and -1 for its embeddings"
                )
        origin = intervention.origin
        if origin is not None and origin.model != self.identity:
            raise ForeignIntervention(
                f"this steering was fitted on {origin.model}, but the model is "
                f"{self.identity}; fit it again on this model"
            )

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
