# %% [markdown]
# # A look inside a speech recogniser, step by step
#
# Runs from top to bottom (`python recipes/librispeech/walkthrough.py`, under two minutes) or cell by cell
# in an editor that knows `# %%`. It loads the bundled recogniser and the bundled speech, and goes from one
# sentence to what the layers tell apart. Figures go to `runs/walkthrough`. To see your own speech instead:
#
#     CORPUS=path/to/test-clean ALIGNMENTS=path/to/TextGrids python recipes/librispeech/walkthrough.py
#
# Each step is one function that takes arrays and gives arrays with named axes: replace any of them by your
# own.

# %%
import os
from pathlib import Path

import matplotlib
import numpy as np
import torch
import xarray as xr

if not os.environ.get("DISPLAY"):
    matplotlib.use("agg")
import matplotlib.pyplot as plt

import asr_introspect as look

CORPUS = Path(os.environ.get("CORPUS", look.bundled("demo")))
ALIGNMENTS = Path(os.environ.get("ALIGNMENTS", CORPUS / "alignments"))
MOST = int(os.environ.get("UTTERANCES", 24))
FIGURES = Path(os.environ.get("FIGURES", "runs/walkthrough"))
FIGURES.mkdir(parents=True, exist_ok=True)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VOWELS = "A E I O U"


def save(figure: plt.Figure, name: str) -> None:
    """Saves a figure, and says where."""
    figure.savefig(FIGURES / f"{name}.png", dpi=110, bbox_inches="tight")
    print(f"   figure: {FIGURES / name}.png")


# %% [markdown]
# ## 1. A recogniser and some speech
#
# Twelve convolutions over a spectrogram of 128 Mel bands, and every 20 ms a letter or a blank, each from 206
# frames of sound, about two seconds. It was trained on one processor core, and every fifth letter
# is wrong. CTC, by which it was trained, fixes the order of the letters and not when they are written:
# hence everything below about time.

# %%
recogniser = look.load_model(look.bundled("reference"))
corpus = look.read_corpus(CORPUS)
# Spread over the whole corpus, so that all speakers are among them.
utterances = corpus.utterances[:: max(1, len(corpus.utterances) // MOST)][:MOST]
minutes = sum(utterance.duration for utterance in utterances) / 60
print(f"{len(utterances)} utterances, {minutes:.1f} minutes, {len({u.speaker for u in utterances})} speakers")

activations = look.forward(recogniser, utterances, layers=["input", "layer9", "layer10"])
letters = look.emitted(activations["layer12"])
print(f"{letters.sizes['instance']} letters were written")

# %% [markdown]
# ## 2. One sentence: its sound, and when its letters are written

# %%
lengths = np.array([utterance.duration for utterance in utterances])
shown = int(np.argmin(np.abs(lengths - 4)))  # the one nearest four seconds
sentence = utterances[shown]
spectrogram = activations["input"][shown].dropna("position")
own = letters.isel(instance=letters["utterance"] == shown)
step_seconds = activations["layer12"]["seconds"].values


def draw_spectrogram(axes: plt.Axes, values: np.ndarray, limit: float, colours: str) -> None:
    """An image of (frames, bands) with seconds and Hz on its axes."""
    seconds, hertz = spectrogram["seconds"].values, spectrogram["hertz"].values
    axes.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        extent=(seconds[0], seconds[-1], 0, len(hertz)),
    )
    bands = [int(np.argmin(np.abs(hertz - each))) for each in (500, 1000, 2000, 4000)]
    axes.set_yticks(bands, ["0.5", "1", "2", "4 kHz"])


def write_letters(axes: plt.Axes) -> None:
    """The letters of the sentence at the time of their steps."""
    for step, label in zip(own["step"].values, own["label"].values, strict=True):
        axes.text(step_seconds[step], 131, str(label).replace(" ", "·"), ha="center", fontsize=8)


figure, axes = plt.subplots(figsize=(11, 3))
draw_spectrogram(axes, spectrogram.values, 3, "magma")
write_letters(axes)
axes.set_xlabel("seconds")
save(figure, "1-sentence")
print(f"   was said:   {sentence.text}")
print(f"   was heard:  {''.join(map(str, own['label'].values))}")

# %% [markdown]
# ## 3. When is a letter written? Before its sound, or after?
#
# Phone alignments say when each phone was spoken; the letters of a word are matched with its phones by
# spelling alone, so that the network has no say in it. A positive lag: the letter is written after its
# sound.

# %%
alignments = look.read_alignments(ALIGNMENTS, utterances) if ALIGNMENTS.is_dir() else {}
middles = look.middles_of_sounds(letters, utterances, alignments).values
heard = np.isfinite(middles)
speakers = activations["input"]["speaker"].values[letters["utterance"].values]


def say_lag(what: str, seconds: np.ndarray) -> None:
    """Prints the median lag behind the phone's middle, with its interval over utterances within speakers."""
    found = look.lag(1000 * (seconds - middles)[heard], letters["utterance"].values[heard], speakers[heard])
    print(
        f"   {what}: {found.median:+.0f} ms ({found.low:+.0f} to {found.high:+.0f}), "
        f"spread {found.spread.value:.0f} ms, {found.count} letters"
    )


if heard.any():
    say_lag("letters are written, against the middle of their phone", step_seconds[letters["step"].values])
else:
    print("   no phone alignments: this step needs ALIGNMENTS")

# %% [markdown]
# ## 4. Which sound is a letter about?
#
# A step sees two seconds of sound; the letter need not lie in their middle. Where the gradient of the
# letter's logit (against the mean of the others) is largest is where the network looked: a natural place to
# put the letter's window. That can be asked of every layer, in its own positions.
#
# Whether it is the *right* place is another matter. If it is, windows of one letter look more alike there
# than anywhere else, in utterances that had no part in the mean, and certainly more than at a random place.
# Believe the numbers, not the idea: with this recogniser windows that stay at the step itself agree better.

# %%
found = look.offsets(recogniser, activations["input"], letters)
frame = activations["input"].attrs["position_seconds"]
if heard.any():
    say_lag("where the gradient is largest at the input", found["input"].values * frame)

random = np.random.default_rng(0)
windows_at = {
    "the step itself": None,
    "gradient": found["input"],
    "random place": activations["input"].attrs["stride"] * letters["step"].values
    + random.integers(-50, 51, letters.sizes["instance"]),
}
table = look.compare_offsets(activations["input"], letters, windows_at)
print("   how well windows of one letter agree, placed by (mean correlation of pairs, 95 % interval):")
for method in table["placed"].values:
    row = table.sel(placed=method)
    print(
        f"   {method:16} {float(row['correlation']):.4f} "
        f"({float(row['correlation_low']):.4f} to {float(row['correlation_high']):.4f})"
    )

figure, axes = plt.subplots(figsize=(6, 2.6))
apart = 10 * (found["input"].values - 2 * letters["step"].values - 1.5)
axes.hist(apart, np.arange(-305, 306, 10), color="#4477aa")
axes.axvline(0, color="black", linewidth=0.8)
axes.set_xlabel("ms from the step's centre to where the gradient is largest")
axes.set_ylabel("letters")
save(figure, "2-offsets")

# %% [markdown]
# ## 5. What a letter looks like
#
# The mean of all windows of a letter is mostly what every letter shares. Less that average, a *pattern* is
# left: red is more energy than around the average letter, blue less. Patterns of few instances are mostly
# noise, so each says how many it rests on.

# %%
at_input = look.profiles(activations["input"], letters, found["input"])
patterns = look.subtract_average(at_input, over=LETTERS)
counts = patterns["count"].max("position")
often = [str(name) for name in counts["group"].values if name in LETTERS]
often = sorted(often, key=lambda name: -int(counts.sel(group=name)))[:12]
near = patterns.isel(position=np.abs(patterns["milliseconds"].values) <= 200)
figure, grid = plt.subplots(3, 4, figsize=(10, 6.5), sharex=True, sharey=True, squeeze=False)
hertz, milliseconds = near["hertz"].values, near["milliseconds"].values
for axes, name in zip(grid.flat, often, strict=False):
    image = axes.imshow(
        near["mean"].sel(group=name),
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        extent=(milliseconds[0], milliseconds[-1], 0, len(hertz)),
    )
    axes.set_title(f"{name}   n = {int(counts.sel(group=name))}", fontsize=10)
    axes.set_yticks([int(np.argmin(np.abs(hertz - each))) for each in (500, 1000, 2000, 4000)])
    axes.set_yticklabels(["0.5", "1", "2", "4 kHz"])
    axes.set_xticks([-100, 0, 100])
    axes.axvline(0, color="black", linewidth=0.6, linestyle=":")
for axes in grid[-1]:
    axes.set_xlabel("ms")
figure.colorbar(image, ax=grid, label="standard deviations of the input", shrink=0.6)
save(figure, "3-patterns")

# %% [markdown]
# ## 6. Why this letter? Relevance
#
# Layer-wise relevance propagation shares a letter's score out over the spectrogram: red spoke for the
# letter against the mean of all others, blue against it. All letters of the sentence come from one call.
# What stays in biases and stabilisers is no evidence about the sound: it is reported, not hidden. Where
# the spectrogram is below its mean, a negative value has no plain reading.

# %%
classes = np.array(recogniser.symbols.classes([str(each) for each in own["label"].values]))
steps = own["step"].values
targets = torch.from_numpy(np.stack([np.zeros_like(steps), steps, classes], axis=1))
inputs = torch.from_numpy(spectrogram.values.T[None].copy())
relevance = look.attribute(
    recogniser.network, inputs, targets, method="lrp", composite="epsilon-relative", against="mean"
)
chosen = int(np.argmax([label in "STFK" for label in own["label"].values]))
window, start = relevance.windows[chosen].numpy(), int(relevance.starts[chosen])
on_sentence = np.zeros((len(spectrogram), window.shape[0]))
columns = np.arange(start, start + window.shape[1])
inside = (columns >= 0) & (columns < len(spectrogram))
on_sentence[columns[inside]] = window.T[inside]
figure, axes = plt.subplots(figsize=(11, 3))
draw_spectrogram(axes, on_sentence, float(np.abs(on_sentence).max()), "RdBu_r")
write_letters(axes)
axes.axvline(step_seconds[steps[chosen]], color="black", linewidth=0.8)
axes.set_xlabel("seconds; the line is the step at which the letter is written")
axes.set_title(f"relevance for {own['label'].values[chosen]}", fontsize=10, pad=18)
save(figure, "4-relevance")
print(f"   of the scores {100 * float(relevance.leak.mean()):.0f} % stay in biases and stabilisers")

# %% [markdown]
# ## 7. What the layers tell apart
#
# The same means for the activations of a layer: a profile for each letter. Dark cells are letters with
# similar profiles; a tree orders them. A heat map always shows *some* clusters: whether vowels (A E I O U)
# stand together is what the silhouette says, against the same number with the classes dealt at random.


# %%
def tell_apart(layer: str, groups: xr.Dataset, at: xr.DataArray | None, vowels: str) -> xr.Dataset:
    """The clustering of a layer's profiles, printed with its evidence."""
    profile = look.profiles(activations[layer], groups, at)
    names = [str(name) for name in profile["group"].values if str(name).isalpha()]
    distance = look.distances(look.subtract_average(profile, over=names).sel(group=names))
    evidence = look.class_evidence(distance.values, [name in vowels.split() for name in names])
    print(
        f"   {layer:8} {len(names)} groups, silhouette {evidence.value:+.2f}, "
        f"by chance {evidence.low:+.2f} to {evidence.high:+.2f}, p = {evidence.p_value:.4f}"
    )
    return look.cluster(distance)


def draw_map(axes: plt.Axes, linked: xr.Dataset, vowels: str, title: str) -> None:
    """Distances sorted by the tree, vowels in bold."""
    distance = linked["distance"]
    names = [str(name) for name in distance["group"].values]
    axes.imshow(distance, cmap="magma", interpolation="nearest")
    axes.set_xticks(range(len(names)), names, fontsize=6, rotation=90)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        tick.set_fontweight("bold" if tick.get_text() in vowels.split() else "normal")
    axes.set_title(title, fontsize=10)


figure, grid = plt.subplots(1, 3, figsize=(13, 4.6))
for axes, layer in zip(grid, ["layer9", "layer10", "layer12"], strict=True):
    # From layer 10 on a step sees one position: there is nothing to move.
    at = found.get(layer)
    draw_map(axes, tell_apart(layer, letters, at, VOWELS), VOWELS, f"letters, {layer}")
save(figure, "5-letters")

# %% [markdown]
# ## 8. Letters or phonemes?
#
# The network was taught letters. Do its layers also tell phonemes apart, which nobody taught it? The same
# activations, grouped by what was spoken. Phonemes have no logit, so no gradient: they stand at the step
# nearest their middle.

# %%
PHONE_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
if alignments:
    phones = look.spoken(activations["layer12"], alignments)
    figure, grid = plt.subplots(1, 2, figsize=(11, 5.4))
    for axes, layer in zip(grid, ["layer10", "layer12"], strict=True):
        linked = tell_apart(layer, phones, None, PHONE_VOWELS)
        draw_map(axes, linked, PHONE_VOWELS, f"phonemes, {layer}")
    save(figure, "6-phonemes")

# %% [markdown]
# ## What to believe
#
# A handful of utterances of a few speakers shows how it is done and little more. The same over a whole
# corpus, in memory that does not grow with it, with cross-validated distances, nulls, an untrained network
# beside it and one page to read:
#
#     asr-introspect introspect --corpus CORPUS --out RUN
#
# and from Python again `asr_introspect.read_profiles("RUN", "layer10")`, `read_offset_table("RUN")`,
# `read_clusters("RUN")`.
