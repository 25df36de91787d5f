"""Plain English sentences without end, from a seed: what the synthetic voices say.

`sentences(seed)` yields sentences of 3 to 14 words from the word lists and templates below: statements,
questions, commands, short replies and numbers, rich in p/b/m, f/v, rounded and spread vowels.
"""
import random
import re

_NOUNS = """apple baby balloon banana bank barber basket bath beach bean bear bed bee bell belt berry
bicycle bird blanket boat body bomb book boot bottle bowl box boy branch bread breeze bridge broom brother
bubble bucket bug builder bus bush butter button cabin cage cake camel camera camp candle car carpet
carrot castle cat cave chair chapel cheese cherry chicken child chimney church circle city clock cloth
cloud clown coat coffee coin comb computer cook copper corner cottage couch cousin cow crab cream crew
crow crown cube cup curtain dance daughter desk dinner doctor dog doll door dove dragon drawer dream dress
driver drum duck ear earth egg elbow elephant engine evening eye face factory family farm farmer father
feather fence fever field film finger fire fish flag flame flood floor flower flute fog food foot forest
fork fountain fox friend frog fruit funnel garage garden gate ghost giraffe girl glass glove goat gold
goose grape grass guitar hammer hand harbour hat hawk hill hobby home honey hood horse hotel house ice
island jacket jam jar jewel job joke judge juice jungle kettle key king kitchen kite kitten knee knife
ladder lake lamb lamp language leaf lemon letter library lion lip lobster lock machine map market meadow
meal measure melon memory message metal milk mirror money monkey moon morning mother mountain mouse mouth
movie mud museum mushroom music nail napkin nation neck needle nephew nest night noise noodle nose novel
nurse oak oats ocean office oil onion orange oven owl oyster package page paint palace pan paper park
parrot path pea peach pear pebble pen pencil pepper person phone piano picture pie pig pillow pilot pipe
pizza place plane planet plate plum pocket poem pond pony pool porch potato powder present pudding pump
puppy purple puzzle queen rabbit radio railway rain ring river road robin robot rocket roof room rope rose
ruby ruler sailor salad salt sand sandwich school screw sea seed shadow shampoo sheep shelf shell shirt
shoe shop shoulder shovel shower sister sky snake snow soap sofa soil soup spider sponge spoon spring
stable stage stair star station steam stone stool storm stove straw street student sugar suit summer sun
supper swan sweater swing table tailor tape teacher temple tent thread throne thumb thunder ticket tiger
toad tomato tooth towel tower town toy tractor train treasure tree truck trumpet tube tunnel turtle
umbrella uncle valley van vase vegetable velvet video village violin voice volcano voyage waffle wagon
wall walnut watch water wave weather web whale wheat wheel whistle window winter wolf woman wood wool worm
yacht yard yogurt zebra zoo""".split()

_ADJECTIVES = """able ample angry awful bad beautiful big bitter blue bold brave brief bright broad broken
brown busy calm cheap clean clever cold common cool crisp curious dark deep dry early easy empty enormous
faint fair famous far fast fat fine firm flat foggy foolish fresh full funny gentle golden good gray great
green happy hard heavy high hollow honest huge humble hungry kind large late lazy light little lonely long
loose loud lovely low lucky marble moist mild modern muddy narrow neat new noble noisy odd old open pale
patient perfect pink plain pleasant polite poor pretty proud pure quick quiet rapid rare raw ready red
rich ripe rough round royal rude sad safe serious shallow sharp shiny short shy silent silver simple slim
slow small smart smooth soft solid sour special spicy square steep stiff strange strong stupid sweet tall
tame thick thin tidy tiny tired tough useful usual vague valuable vast violet warm weak wet white whole
wide wild wise wonderful wooden yellow young""".split()

_PEOPLE = """Adam Alice Amy Anna Barbara Beth Bob Bobby Bruce Charlie David Emma Eva Fiona Frank George
Grace Harvey Helen Ivy Jack James Jim Joe John Joyce Julia Kevin Laura Leo Lucy Mark Mary Matthew May Mike
Molly Oliver Pam Patrick Paul Peter Phoebe Philip Ralph Robert Rose Ruth Sam Sophie Steve Susan Theo
Thomas Tim Tom Viola Vivian Walter Wendy Will Zoe""".split() + [
    "my mother", "my father", "your brother", "his wife", "her boss", "our neighbour", "the mayor",
    "the whole family", "the old man", "the young woman", "everybody", "nobody", "somebody", "the baby",
    "the teacher", "the bus driver"]

_PAST = """admired baked bought bumped brought brushed built called carried caught chose cleaned copied
covered described dropped examined fetched filled finished fixed followed forgot found gave got grabbed
guarded hated heard helped hid improved joined kept kicked knew lifted liked lost loved made measured met
mixed mended moved needed noticed offered opened packed painted passed picked placed played praised
prepared promised proved pulled pushed remembered removed repaired reserved returned saved saw searched
served shared shook showed sold stole stopped studied swept threw took touched tried used viewed visited
wanted washed watched whipped wiped wrapped""".split()

_BASE = """admire bake believe borrow bring brush build buy call carry catch change choose clean copy
cover describe draw drop enjoy examine fetch fill find finish fix follow forget give grab guard hear help
hide improve join keep kick know leave lift love make measure mend mix move notice offer open pack paint
pass pick play prepare prove pull push remember remove repair return save see sell serve share shove show
smell stop sweep take taste throw touch try use view visit want wash watch whip wipe wrap""".split()

_GOING = """arriving asking behaving boiling breathing climbing coming coughing cooking crawling crying
dancing dreaming drinking driving falling fishing floating flying growing hoping humming improving jumping
knocking laughing leaving listening looking moving mumbling playing reading resting running sailing
shopping shouting singing sleeping smiling speaking swimming talking thinking travelling voting waiting
walking waving whispering working yawning""".split()

_WHERE = """above the roof|across the bay|after the movie|along the path|among the flowers
around the corner|at home|at the beach|at the market|before breakfast|behind the fence|below the bridge
beside the fire|between two walls|beyond the valley|by the pool|down the road|for a few moments
from the village|in a big hurry|in Europe|in February|in my room|in the oven|in the afternoon
in the south|inside the cave|near the window|next to the boiler|off the shelf|on Monday|on the moon
on the other side|on the way home|over the hill|past the church|through the forest
to the top of the tower|toward the mountain|under the table|up the chimney|with a broom|with both hands
with the vacuum|without a map|without any trouble|without their shoes""".replace("\n", "|").split("|")

_HOW = """again|almost always|as usual|badly|before long|bravely|by bus|by mistake|calmly|carefully
each morning|early|every evening|for fun|for you|gently|happily|in five minutes|just now|last week|later
loudly|more or less|most of all|much too fast|now and then|of course|often|once more|perfectly
pretty well|quietly|quite often|rather slowly|soon|this month|today|together|tomorrow|tonight
twice a year|very well|with pleasure|yesterday""".replace("\n", "|").split("|")

_REPLIES = """Yes, of course.|No, thank you.|Maybe tomorrow.|I believe so.|Oh, how wonderful!|What a
mess!|Good morning, everyone.|Thank you very much.|You are most welcome.|Please come in.|Who knows?|Where
are we now?|Why not?|How are you?|I am fine, and you?|Let me see.|Give me a moment.|Well, that was
easy.|Never mind.|Up you go!|Move over, please.|Is that so?|Hm, maybe.|Bye for now.|See you on Friday.|Pay
by phone, please.|Hurry up!|Be my guest.|Open the door, please.|Watch your step.|Have a lovely
weekend.|Nice to meet you.|Who is there?|Wow, look at that!|My battery is almost empty.|I did not hear
you.|Could you say that again?|Follow me, please.|Stop at once!|Whoops, my mistake.|Oh boy, you too?|How
much is it?|That will do.|Both of them.|Before or after?|Either is fine with me.""".replace(
    "\n", " ").split("|")

_ONES = ("one two three four five six seven eight nine ten "
         "eleven twelve thirteen fifteen sixteen eighteen").split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

_TEMPLATES = """{who} {past} the {adj} {noun} {where}.|{who} {past} {how}.|The {adj} {noun} is {adj}.|The
{noun} and the {noun} were {adj}.|{who} will {base} a {adj} {noun} {how}.|Do you {base} the {noun}?|Why
did {who} {base} the {noun} {where}?|Where is the {adj} {noun}?|Who {past} my {noun}?|How many {noun}
books did {who} {base}?|Please {base} the {noun} {where}.|Please do not {base} the {adj} {noun}.|{who} was
{going} {where}, and {who} was {going} too.|We saw {number} {adj} birds {where}.|There were {number}
people {going} {where}.|It costs {number} pounds and {number} pence.|The number is {number}, {number},
{number}.|If you {base} the {noun}, {who} may {base} the {noun}.|When {who} {past} the {noun}, the {noun}
was {adj}.|I would rather {base} the {noun} than the {noun}.|{reply}|My {noun} is too {adj} for a
{noun}.|Is your {noun} {adj} or {adj}?|You should {base} the {noun} {how}.|Nothing is as {adj} as a {adj}
{noun}.|{who} and {who} are {going} {how}.|Has {who} been {going} {where}?|Bring me the {adj} {noun}, the
{noun}, and the {noun}.|At {number} o'clock we {base} the {noun}.|Those {adj} shoes belong to {who}.|Few
of us {base} the {noun} {how}.|What a {adj} {noun}!|Look, the {noun} is {going} {where}!|I think that
{who} {past} the {noun} {how}.|A {noun}, a {noun}, or a {noun}?|{who} never {past} it, but {who} {past}
the {noun}.""".replace("\n", " ").split("|")


def _number(rng):
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(_ONES)
    if kind < 0.9:
        return f"{rng.choice(_TENS)} {rng.choice(_ONES[:9])}"
    return f"{rng.choice(_ONES[:9])} hundred and {rng.choice(_TENS)}"


def _tidy(sentence):
    """Capitals at the start, `an` before a vowel letter."""
    sentence = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", sentence)
    return sentence[0].upper() + sentence[1:]


def sentences(seed=0):
    """Yield English sentences of 3 to 14 words for ever; equal seeds give equal sentences."""
    rng = random.Random(f"sentences {seed}")
    fill = {"who": _PEOPLE, "past": _PAST, "base": _BASE, "going": _GOING, "adj": _ADJECTIVES,
            "noun": _NOUNS, "where": _WHERE, "how": _HOW, "reply": _REPLIES}

    def word(match):
        return _number(rng) if match[1] == "number" else rng.choice(fill[match[1]])

    while True:
        sentence = _tidy(re.sub(r"\{(\w+)\}", word, rng.choice(_TEMPLATES)))
        if 3 <= len(sentence.split()) <= 14:
            yield sentence


def vocabulary():
    """The words that sentences are made of, lower-case, sorted."""
    lists = (_NOUNS, _ADJECTIVES, _PEOPLE, _PAST, _BASE, _GOING, _WHERE, _HOW, _REPLIES, _ONES, _TENS,
             _TEMPLATES)
    text = " ".join(" ".join(words) for words in lists)
    return sorted(set(re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", text).lower())))
