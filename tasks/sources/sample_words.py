"""The words of the samples, written for Unveil: a first run needs neither network nor third-party text."""

from __future__ import annotations

PEOPLE = (
    "Ada Marlow", "Bruno Keel", "Clara Finch", "Dario Holt", "Elin Marsh", "Felix Thorne", "Greta Vale",
    "Hugo Penn", "Ines Calder", "Jonas Reed", "Kira Stone", "Leo Farrow", "Mina Ash", "Nils Harrow",
    "Olga Brandt", "Pavel Rook", "Quinn Archer", "Rosa Lind", "Silas Moor", "Tessa Wren", "Ulrik Dane",
    "Vera Locke", "Wim Castor", "Yara Flint",
)  # fmt: skip
TOWNS = (
    "Alderwick", "Brackenford", "Coldharbour", "Dunmere", "Eastmoor", "Fernhollow", "Greywater",
    "Hartsbridge", "Ironvale", "Juniper Hill", "Kestrel Bay", "Larkfield", "Millbrook", "Northgate",
    "Otterby", "Pinecrest", "Quarry End", "Ravensholm", "Saltmarsh", "Thornbury", "Upper Lea", "Violet Creek",
    "Westerby", "Yarrow",
)  # fmt: skip
RIVERS = (
    "Aven", "Bourne", "Cress", "Dray", "Elder", "Frome", "Glen", "Heron", "Isk", "Larch", "Mire", "Ouse",
)  # fmt: skip
TRADES = (
    "baker", "carpenter", "teacher", "sailor", "printer", "weaver", "doctor", "gardener", "clockmaker",
    "fisher", "miller", "painter", "cook", "librarian", "blacksmith", "farmer", "musician", "postmaster",
    "glazier", "surveyor",
)  # fmt: skip
GOODS = (
    "wool", "glass", "paper", "salt", "honey", "timber", "cheese", "copper", "pottery", "linen", "apples",
    "bricks", "rope", "candles", "barley", "leather", "silver", "cider", "slate", "oysters",
)  # fmt: skip
THINGS = (
    "lantern", "letter", "compass", "violin", "key", "map", "basket", "mirror", "kettle", "ladder",
    "notebook", "coat", "bell", "telescope", "bicycle", "umbrella", "drum", "chair", "clock", "boat", "ring",
    "wagon", "flute", "puppet",
)  # fmt: skip
PLACES = (
    "the harbour", "the old mill", "the market square", "the library", "the orchard", "the chapel",
    "the railway yard", "the ferry landing", "the school", "the north wall", "the inn", "the lighthouse",
    "the bridge", "the workshop", "the meadow", "the town hall", "the bakery", "the hill road", "the quarry",
    "the garden",
)  # fmt: skip
WEATHER = (
    "rain fell without a pause", "the wind came from the sea", "a thin fog lay over the roofs",
    "the sun was low", "snow had covered the road", "the air smelled of smoke", "a storm was on its way",
    "the night was clear and cold", "the heat had not let up for days", "clouds raced over the hills",
    "the first frost was on the grass", "the river had risen again",
)  # fmt: skip
DEEDS = (
    "looked for", "had lost", "wanted to sell", "carefully mended", "kept hidden", "was given",
    "carried home", "could not forget", "had once stolen", "finally found", "drew a picture of",
    "asked everyone about", "put away", "meant to return", "took apart",
)  # fmt: skip
THOUGHTS = (
    "and nobody asked why", "because a promise is a promise", "although it was worth very little",
    "and that was the end of the quarrel", "as if nothing else mattered", "while the others were asleep",
    "before the church bell had rung twice", "without a word to the neighbours",
    "and laughed about it for years", "but the truth came out in spring",
    "so that the children would remember", "after a long walk in the dark", "and paid for it dearly",
    "though the doctor had warned against it", "which surprised even the oldest of them",
)  # fmt: skip
SAYINGS = (
    "We should have left yesterday", "There is still time", "You never told me that",
    "I have seen this before", "It does not belong to us", "Nobody will believe it",
    "Come back when the tide is out", "Keep it, then", "I would rather walk", "That is not what the map says",
    "Ask me again tomorrow", "You may be right", "Leave the door open", "My father said the same",
    "Then we are late",
)  # fmt: skip
FEATURES = (
    "a covered market", "a stone bridge of five arches", "a small museum of tools", "a botanical garden",
    "a weekly horse fair", "a school of navigation", "an observatory", "a choir known far beyond the valley",
    "a tram line", "a public bath", "a printing house", "a fortress that was never taken", "a theatre",
    "a canal lock", "an annual kite festival", "a lighthouse of red brick",
)  # fmt: skip
EVENTS = (
    "a fire destroyed the warehouses", "the railway arrived", "a flood changed the course of the river",
    "the first hospital was opened", "the town was granted a charter", "the harbour silted up",
    "a strike closed the mills for a month", "electric light reached the main street",
    "the old walls were pulled down", "the university opened a field station", "a new aqueduct was finished",
    "the mint was moved away",
)  # fmt: skip
TASKS = (
    "sharpen a kitchen knife", "repot a fern", "oil a bicycle chain", "bake rye bread", "mend a wool sweater",
    "clean a violin bow", "store apples for winter", "tune a drum", "bind a notebook", "fold a paper boat",
    "descale a kettle", "paint a window frame", "sow beans in rows", "wash a down jacket",
    "hang a heavy mirror", "brew cold coffee", "light a wood stove", "read a tide table",
    "seal a leaking gutter", "dry garden herbs",
)  # fmt: skip
STEPS = (
    "Clear the table and lay out everything you need.", "Work slowly; most mistakes come from haste.",
    "Rinse it with lukewarm water and let it dry.", "Measure twice before you cut or mix anything.",
    "Wipe away the old grease with a dry cloth.", "Let it rest for an hour in a cool room.",
    "Check the edges first, since that is where damage begins.", "Use less than you think you will need.",
    "Turn it around and repeat on the other side.", "Ask a second person to hold the far end.",
    "Mark the place with a soft pencil.", "Keep a note of what you did, so that you can do it again.",
    "If it feels loose, tighten it by a quarter turn.", "Stop as soon as you hear it click.",
    "Open a window, because the smell can be strong.", "Put a drop of oil on the joint and wait.",
    "Remove dust with a brush before you go on.", "Test the result with a light hand.",
    "Store the rest in a closed jar.", "Throw away anything that has changed its colour.",
)  # fmt: skip
REASONS = (
    "It saves money and takes less than an hour.", "Done once a year, it doubles the life of the thing.",
    "Our readers ask about it every autumn.", "There are many ways to do it, and this one forgives mistakes.",
    "The method is old and needs no special tools.", "Beginners manage it at the first or second try.",
)  # fmt: skip
MOODS = (
    "so happy today", "cannot believe it", "honestly tired", "best morning in weeks", "still laughing",
    "a bit worried", "proud of the team", "not impressed", "ready for the weekend", "slightly late as always",
    "feeling lucky", "need more coffee",
)  # fmt: skip
CHATTER = (
    "just saw a heron land next to {place}", "the queue at {place} goes around the corner",
    "{person} played the {thing} at {place} and everyone stopped to listen",
    "lost my {thing} near {place} again", "who else is going to {town} on Saturday",
    "the bus to {town} left without me, third time this month",
    "finally fixed the old {thing}, took me four evenings",
    "tried the {goods} from {town} and now I want nothing else",
    "my neighbour {person} says {place} will close for the winter",
    "someone left a {thing} on the train to {town}", "is it only me or is {place} louder than last year",
    "trading a {thing} for fresh {goods}, any takers",
    "rain again in {town}, the festival is moved to {place}",
    "learning to cook with {goods} is harder than it looks",
)  # fmt: skip
TAGS = ("morning", "smalltown", "weekend", "music", "diy", "lost", "trains", "food", "weather", "neighbours")
EMOJI = ("", "", "", " 😀", " 🙃", " 🎉", " ☕", " 🚲")
