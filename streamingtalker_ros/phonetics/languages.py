# SPDX-License-Identifier: Apache-2.0
"""Everyday sentences in languages other than English, for espeak-ng: `SENTENCES[code]`.

They are rich in closed lips, rounded and open vowels. Codes are those of espeak-ng.
"""

from __future__ import annotations

from typing import Final

_TEXT = """
de
Guten Morgen, möchten Sie einen Kaffee oder lieber einen Tee?
Meine Mutter hat im Sommer viele bunte Blumen gepflanzt.
Bitte bringen Sie mir die Suppe und ein Glas Wasser.
Wo ist der nächste Bahnhof, und wann fährt der Bus ab?
Der alte Mann ging langsam über die Brücke nach Hause.
Wir haben am Freitag über fünfzig Bücher verkauft.
Das Wetter ist heute schön, aber morgen wird es regnen.
Öffne bitte das Fenster, es ist warm im Zimmer.
Viele Vögel fliegen im Herbst nach Süden.
Kannst du mir helfen, den Apfelbaum zu beschneiden?
Mein Bruder spielt abends Klavier in einer kleinen Bar.
Ich glaube, wir sollten jetzt besser gehen.
Zwei mal zwei ist vier, und drei mal drei ist neun.
Pass auf, der Boden ist nass und ziemlich glatt!
fr
Bonjour, je voudrais un bon café et deux croissants.
Ma mère habite dans une petite maison près de la mer.
Où est la gare, et à quelle heure part le train pour Paris?
Le boulanger prépare le pain tous les matins.
Il fait beau aujourd'hui, mais il va pleuvoir demain.
Nous avons mangé une soupe de poisson au bord de l'eau.
Pouvez-vous ouvrir la fenêtre, s'il vous plaît?
Mon frère joue du piano dans un bar après minuit.
Les oiseaux volent vers le sud quand vient l'automne.
Je pense que nous devrions partir maintenant.
Combien coûtent ces pommes vertes et ces belles poires?
Attention, le sol est mouillé et très glissant!
Un vieux monsieur promène son chien autour du lac.
Elle a rempli la bouteille avec beaucoup de patience.
es
Buenos días, quisiera un café con leche y un vaso de agua.
Mi madre vive en una casa blanca cerca de la playa.
¿Dónde está la estación y a qué hora sale el autobús?
El panadero prepara el pan todas las mañanas.
Hoy hace buen tiempo, pero mañana va a llover mucho.
Compramos un kilo de manzanas y media docena de huevos.
Por favor, abre la ventana porque hace mucho calor.
Mi hermano toca la guitarra en un bar del pueblo.
Los pájaros vuelan hacia el sur en el otoño.
Creo que ahora deberíamos volver a casa.
¿Puede usted hablar un poco más despacio?
Cuidado con el perro, que muerde a todo el mundo.
Un viejo pescador limpiaba su barco junto al puerto.
Veintiuno, treinta y cuatro, cincuenta y ocho, cien.
it
Buongiorno, vorrei un caffè e un bicchiere d'acqua.
Mia madre abita in una piccola casa vicino al mare.
Dov'è la stazione, e quando parte il treno per Bologna?
Il fornaio prepara il pane ogni mattina presto.
Oggi fa bello, ma domani pioverà tutto il giorno.
Abbiamo comprato un chilo di mele e quattro pomodori.
Per favore, apri la finestra, fa molto caldo.
Mio fratello suona la chitarra in un bar del porto.
Gli uccelli volano verso sud quando viene l'autunno.
Penso che adesso dobbiamo proprio andare.
Può parlare un poco più lentamente, per piacere?
Attenzione, il pavimento è bagnato!
Un vecchio pescatore puliva la barca sotto la luna.
Venti, trentuno, quarantotto, cinquanta, cento.
pt-br
Bom dia, eu queria um café e um copo de água.
Minha mãe mora em uma casa bonita perto da praia.
Onde fica a estação, e quando sai o próximo ônibus?
O padeiro prepara o pão todas as manhãs.
Hoje o tempo está bom, mas amanhã vai chover muito.
Compramos um quilo de maçãs e meia dúzia de ovos.
Por favor, abra a janela, porque faz muito calor.
Meu irmão toca violão em um bar da cidade.
Os pássaros voam para o sul no outono.
Acho que agora devemos voltar para casa.
Você pode falar um pouco mais devagar?
Cuidado, o chão está molhado e escorrega!
Um velho pescador limpava o barco embaixo da ponte.
nl
Goedemorgen, ik wil graag een kopje koffie met melk.
Mijn moeder woont in een klein huis bij de zee.
Waar is het station, en hoe laat vertrekt de bus?
De bakker maakt elke ochtend vers brood.
Vandaag is het mooi weer, maar morgen gaat het regenen.
Doe alsjeblieft het raam open, het is hier warm.
Mijn broer speelt piano in een bruin café.
Veel vogels vliegen in de herfst naar het zuiden.
Ik geloof dat we nu beter naar huis kunnen gaan.
Kunt u misschien iets langzamer praten?
Pas op, de vloer is nat en behoorlijk glad!
pl
Dzień dobry, proszę kawę z mlekiem i szklankę wody.
Moja mama mieszka w małym domu blisko morza.
Gdzie jest dworzec i o której odjeżdża autobus?
Piekarz piecze chleb każdego ranka.
Dzisiaj jest ładna pogoda, ale jutro będzie padać.
Kupiliśmy kilogram jabłek i pięć pomidorów.
Proszę otworzyć okno, bo jest bardzo gorąco.
Mój brat gra na pianinie w małym barze.
Ptaki odlatują jesienią na południe.
Myślę, że powinniśmy już wracać do domu.
Czy może pan mówić trochę wolniej?
Uwaga, podłoga jest mokra!
tr
Günaydın, bir bardak çay ve biraz ekmek istiyorum.
Annem deniz kenarında küçük bir evde oturuyor.
İstasyon nerede ve otobüs saat kaçta kalkıyor?
Bugün hava çok güzel, ama yarın yağmur yağacak.
Lütfen pencereyi açar mısınız, burası çok sıcak.
Kardeşim akşamları bir barda piyano çalıyor.
Kuşlar sonbaharda güneye uçarlar.
Bence artık eve dönmemiz gerekiyor.
Biraz daha yavaş konuşabilir misiniz?
Dikkat edin, yer ıslak ve kaygan!
hi
नमस्ते, आप कैसे हैं और आपका नाम क्या है?
मेरी माँ समुद्र के पास एक छोटे घर में रहती है।
रेलवे स्टेशन कहाँ है, और बस कब जाती है?
आज मौसम बहुत अच्छा है, पर कल बारिश होगी।
कृपया खिड़की खोल दीजिए, यहाँ बहुत गर्मी है।
मेरा भाई शाम को बाज़ार में फल बेचता है।
हमने पाँच सेब और दो किताबें खरीदीं।
मुझे लगता है कि अब हमें घर जाना चाहिए।
क्या आप थोड़ा धीरे बोल सकते हैं?
एक बूढ़ा आदमी पुल पर बैठा था।
cmn-latn-pinyin
ni3 hao3, qing3 gei3 wo3 yi4 bei1 ka1 fei1 he2 yi4 bei1 shui3.
wo3 ma1 ma1 zhu4 zai4 hai3 bian1 de5 yi2 ge4 xiao3 fang2 zi5 li3.
qing3 wen4 huo3 che1 zhan4 zai4 na3 li3, gong1 gong4 qi4 che1 ji3 dian3 kai1?
jin1 tian1 tian1 qi4 hen3 hao3, ke3 shi4 ming2 tian1 hui4 xia4 yu3.
qing3 ba3 chuang1 hu4 da3 kai1, zhe4 li3 fei1 chang2 re4.
wo3 ge1 ge5 wan3 shang4 zai4 jiu3 ba1 li3 tan2 gang1 qin2.
wo3 men5 mai3 le5 wu3 ge4 ping2 guo3 he2 ba1 ben3 shu1.
wo3 jue2 de5 wo3 men5 xian4 zai4 ying1 gai1 hui2 jia1 le5.
ni3 ke3 yi3 shuo1 de5 man4 yi4 dian3 ma5?
xiao3 peng2 you3 men5 zai4 gong1 yuan2 li3 pao3 bu4.
sv
God morgon, jag vill gärna ha en kopp kaffe med mjölk.
Min mamma bor i ett litet hus nära havet.
Var ligger stationen, och när går bussen?
I dag är vädret vackert, men i morgon blir det regn.
Var snäll och öppna fönstret, det är så varmt här.
Min bror spelar piano på en bar om kvällarna.
Många fåglar flyger söderut på hösten.
Jag tror att vi borde gå hem nu.
Kan du prata lite långsammare?
ja
おはようございます、コーヒーをください。
わたしのははは うみのそばに すんでいます。
えきは どこですか、バスは なんじに でますか。
きょうは てんきが いいですが、あしたは あめが ふります。
まどを あけてください、とても あついです。
あには よる ピアノを ひきます。
ぼくは りんごを いつつ かいました。
もう いえに かえりましょう。
"""


def _parse(text: str) -> dict[str, list[str]]:
    """Group the lines of a text under the language codes before them."""
    sentences: dict[str, list[str]] = {}
    code = ""
    for line in text.strip().splitlines():
        if line.isascii() and line.islower() and " " not in line:
            code = line
            sentences[code] = []
        else:
            sentences[code].append(line)
    return sentences


SENTENCES: Final = _parse(_TEXT)
"""Sentences per espeak-ng language code."""
