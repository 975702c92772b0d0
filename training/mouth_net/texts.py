"""What the voices are given to say: sentences of many languages, and words that are made up."""

# Letters of other alphabets look like others on purpose.
# ruff: noqa: RUF001

import re
from collections import Counter, defaultdict
from typing import Final

import numpy as np

SENTENCES: Final[dict[str, str]] = {
    "en": """The old piper played by the river before the moon came up. Five brave boys moved the
    heavy piano up the stairs. My mother bought blue boots for February. Perhaps you would rather
    have a cup of tea, or maybe some warm bread with butter? She was thinking about the weather
    while the farmer fed his sheep. What a wonderful evening for a walk through the village! Bob
    never told them how he opened the box. Look over there, the women are waving from the boat.""",
    "de": """Am Freitag pflückte Bärbel fünf reife Äpfel vom Baum. Warum möchtest du bei Regen
    schwimmen gehen? Mein Bruder wohnt über der Bäckerei am Markt. Öffne bitte das Fenster, bevor
    die Mücken kommen. Zwischen Weihnachten und Neujahr schneit es oft. Vielleicht bauen wir
    morgen ein größeres Boot.""",
    "fr-fr": """Papa a peint le bateau bleu pendant que maman préparait une bonne soupe. Où est-ce
    que vous avez trouvé ce vieux livre? La pluie tombe doucement sur les feuilles du peuplier.
    Un homme bien habillé attend le prochain autobus. Je voudrais boire un peu de vin, peut-être
    demain.""",
    "es": """El pobre pescador bebe agua fresca por la mañana. Mi abuela vive en un pueblo pequeño
    y vende flores. ¿Por qué no me avisaste que venías con tu familia? El muchacho corrió detrás
    del tren hasta la última parada. Hoy hace mucho viento y las nubes se mueven rápido.""",
    "it": """Il bambino beve un bicchiere di latte prima di dormire. Mia moglie compra il pane e le
    fragole al mercato. Perché non vieni a trovarci una volta? Le montagne sono bianche e il vento
    soffia forte. Abbiamo sempre fame dopo una lunga passeggiata.""",
    "pt-br": """A minha avó prepara um bolo de fubá muito bom. Você pode abrir a porta para o meu
    amigo? Os meninos brincavam na praia quando a chuva chegou. Não há nada melhor do que ouvir
    uma boa música. O velho barco azul ficou preso no porto.""",
    "nl": """De buurman fietst elke morgen naar het bos en brengt verse bloemen mee. Waarom heb je
    mijn paraplu meegenomen? Het water in de vijver bevroor vannacht. Zou u misschien een pond
    bruine bonen willen? De vogels vliegen over het wijde veld.""",
    "sv": """Min farmor bakar bröd och bjuder på färska bär. Varför flyger fåglarna så långt bort?
    Pojken sprang hem över ön med båda händerna fulla. Vi vill gärna ha ett hus vid havet. På
    morgonen var himlen blå och mycket vacker.""",
    "da": """Bedstefar fortæller om dengang, han boede ved fjorden. Må jeg bede om en kop varm te?
    Pigen maler et billede af en grøn båd. Vi fandt mange svampe i skoven om efteråret. Det blæste
    så meget, at døren fløj op.""",
    "pl": """Moja babcia piecze pyszne bułki z makiem i powidłami. Czy mógłbyś zamknąć okno, bo
    wieje? Chłopiec puszczał latawce nad brzegiem rzeki. W lutym bywa bardzo zimno i pada śnieg.
    Żaba wskoczyła do wody i popłynęła w głąb stawu.""",
    "cs": """Babička peče makové buchty a povídá pohádky. Proč jsi mi včera nezavolal? Malý pes
    běhal po poli a štěkal na vlaky. Můj bratr koupil pět velkých pomerančů. Vítr foukal tak silně,
    že spadly všechny švestky.""",
    "hu": """A nagymama meggyes pitét süt a vendégeknek. Miért nem jöttél fel hozzám a múlt
    vasárnap? A fiú a folyó partján figyelte a madarakat. Kérek egy pohár vizet és öt piros almát.
    Böbe nővére Pécsett vett egy új bőröndöt.""",
    "fi": """Mummo leipoo pullaa ja pappa lämmittää saunaa. Miksi et vastannut puhelimeen eilen
    illalla? Pieni poika juoksi metsän läpi järven rantaan. Hyvää yötä, nähdään huomenna aamulla.
    Kylmä tuuli puhalsi mereltä päin.""",
    "ro": """Bunica mea face o plăcintă bună cu mere și brânză. De ce nu vii mâine până la noi?
    Copiii fug pe câmp după fluturi albaștri. Vântul bate puternic și frunzele cad. Aș vrea o pâine
    proaspătă și un pahar cu apă.""",
    "el": """Η μητέρα μου φτιάχνει ψωμί και βάζει μέλι πάνω. Γιατί δεν ήρθες μαζί μας στο βουνό; Ο
    μπαμπάς έφερε φρέσκα φρούτα από το παζάρι. Το πρωί φυσούσε πολύ και έβρεχε. Θα ήθελα ένα
    ποτήρι νερό, παρακαλώ.""",
    "uk": """Бабуся пече пиріг із вишнями та маком. Чому ти вчора не подзвонив мені? Хлопчик біг
    полем за великим білим псом. Мама купила п'ять яблук і пляшку молока. Вітер віє з моря, і
    хвилі б'ють об берег.""",
    "hi": """मेरी माँ बाज़ार से फल और फूल लाती है। तुम कल हमारे घर क्यों नहीं आए? बच्चे बाग में पतंग
    उड़ा रहे हैं। पिताजी ने मुझे एक नई पुस्तक दी। बारिश के बाद हवा बहुत ठंडी हो गई।""",
    "id": """Ibu membeli buah mangga dan pepaya di pasar pagi. Mengapa kamu belum pulang ke rumah?
    Paman bekerja di pabrik sepeda dekat sungai. Burung itu terbang di atas pohon bambu. Besok
    kami mau pergi memancing bersama bapak.""",
    "sw": """Mama amepika wali na maharage kwa wageni wetu. Kwa nini hukufika nyumbani mapema? Watoto
    wanacheza mpira uwanjani baada ya mvua. Babu alifuga mbuzi wengi zamani. Ndege mweupe anaruka
    juu ya bahari.""",
    "vi": """Mẹ tôi mua một bó hoa và mấy quả bưởi ở chợ. Vì sao hôm qua bạn không về nhà? Ông bà
    nội sống ở một vùng quê yên bình. Buổi sáng trời mưa và gió thổi mạnh. Em bé uống sữa rồi đi
    ngủ.""",
    "ar": """ذهبت أمي إلى السوق واشترت خبزا وفاكهة. لماذا لم تفتح باب البيت يا ولدي؟ يلعب الأطفال
    في الحديقة بعد المطر. كتب أبي رسالة طويلة إلى صديقه. هبت الريح من البحر في المساء.""",
    "cmn": """妈妈早上买了苹果和面包。 你为什么不跟我们一起去爬山？ 爸爸在门口跟朋友说话。
    風很大，外面下着雨。 小朋友不怕冷，跑步去学校。""",
    "fa": """مادرم برای مهمان ها نان و پنیر آورد. چرا دیروز به من زنگ نزدی؟ بچه ها در باغ بازی
    می کنند. پدر بزرگ یک کتاب قدیمی داشت. باد تندی از طرف کوه می وزید.""",
    "ka": """ბებია პურს აცხობს და ბავშვებს ზღაპარს უამბობს. რატომ არ მოხვედი გუშინ ჩვენთან? მამამ
    ბაზარში ვაშლი იყიდა. მთაში დიდი თოვლი მოვიდა. პატარა ბიჭი მდინარესთან თამაშობდა.""",
    "ta": """அம்மா சந்தையில் பழம் வாங்கினாள். நீ ஏன் நேற்று வீட்டுக்கு வரவில்லை? பிள்ளைகள்
    மழையில் விளையாடுகிறார்கள். அப்பா பெரிய படகு ஒன்று செய்தார். காற்று மிகவும் வேகமாக வீசியது.""",
    # What follows is kept for choosing between networks, and never trained on.
    "ru": """Бабушка печёт пирог с вишней и маком. Почему ты вчера мне не позвонил? Мальчик бежал
    по полю за большой белой собакой. Мама купила пять яблок и бутылку молока. Ветер дует с моря,
    и волны бьют о берег. Вы любите пить чай по вечерам?""",
    "ja": """わたしは まいばん ほんを よみます。 はは は パンと ぶどうを かいました。 なぜ
    きのう うちへ こなかったの ですか。 ふゆの やまは ゆきで まっしろ です。 ぼくの いぬは
    みずが だいすき です。""",
    "tr": """Babam pazardan büyük bir karpuz ve beş elma aldı. Neden dün akşam bize gelmedin? Küçük
    çocuk bahçede kelebeklerin peşinden koşuyordu. Rüzgâr denizden esiyor ve dalgalar vuruyor. Bir
    bardak su ve biraz ekmek alabilir miyim?""",
    "ca": """La meva àvia fa pa amb tomàquet cada dissabte. Per què no vas venir ahir al vespre amb
    nosaltres? Els nens jugaven a la platja quan va ploure. El vent bufa fort i les fulles volen.
    Voldria una ampolla d'aigua i cinc pomes.""",
}

_ORDER: Final = 3
_MADE_UP_SHARE: Final = 0.5


class Writer:
    """Writes sentences of one language, half of them of words that only look like it.

    Letters follow one another as in the language's own sentences, so that the sounds do too.
    """

    def __init__(self, language: str, seed: int) -> None:
        text = re.sub(r"\s+", " ", SENTENCES[language]).strip()
        self._sentences = re.split(r"(?<=[.?!;。？؟।]) ", text)
        self._words = re.sub(r"[.,?!;¿¡。？،؟।，]", " ", text).split()
        self._follows: dict[str, Counter[str]] = defaultdict(Counter)
        for word in self._words:
            marked = "^" * _ORDER + word.lower() + "$"
            for i in range(_ORDER, len(marked)):
                self._follows[marked[i - _ORDER : i]][marked[i]] += 1
        self._random = np.random.default_rng(seed)

    def sentence(self) -> str:
        """The next sentence."""
        if self._random.random() < 0.15:
            return str(self._random.choice(self._sentences))
        words = [self._word() for _ in range(int(self._random.integers(3, 11)))]
        if len(words) > 6 and self._random.random() < 0.4:
            words[len(words) // 2] += ","
        return " ".join(words) + "."

    def _word(self) -> str:
        if self._random.random() > _MADE_UP_SHARE:
            return str(self._random.choice(self._words))
        letters = "^" * _ORDER
        while not letters.endswith("$") and len(letters) < 16:
            # Three letters tell nearly the whole word where there are few words: two are better.
            follows = self._follows[letters[-_ORDER:]]
            if self._random.random() < 0.5:
                follows = sum(
                    (f for key, f in self._follows.items() if key[1:] == letters[1 - _ORDER :]),
                    Counter(),
                )
            choices = list(follows)
            weights = np.array([follows[letter] for letter in choices], np.float64)
            letters += str(self._random.choice(choices, p=weights / weights.sum()))
        return letters.strip("^$")
