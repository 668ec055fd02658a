"""Own taxonomy, own labels: the board's seven classes on 1,773 real messages, beside a linear SVM on words.

Five folds that never part near-copies, the same for both. Writes bench/results/own-labels.json (figures only).
"""

from __future__ import annotations

import json
import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.taxonomy import Taxonomy
from nlp.training import FOLDS, analyse, extract, folds, prepare, train
from service.learning import read_labelled
from service.settings import ROOT, Settings

MESSAGES = ROOT.parent / "shared" / "real" / "messages.csv"


def main() -> None:
    """Train both, record, print."""
    settings = Settings()
    items = read_labelled(MESSAGES, "留言详情", "一级标签", "留言主题", settings.max_chars)
    labels = sorted({item.label for item in items})
    taxonomy = Taxonomy.flat({label: sum(i.label == label for i in items) / len(items) for label in labels})
    encoder = load_encoder(settings.encoder)
    features = extract(analyse(items, Analyser(settings.corpora), lambda *_: None), encoder, lambda *_: None)
    begun = time.perf_counter()
    scores = train(items, features, taxonomy, "own", lambda *_: None).scores.as_dict()
    seconds = time.perf_counter() - begun
    _, y, groups = prepare(items, taxonomy)
    words = [" ".join(words) for words in features.terms]
    predicted = np.zeros(len(y), dtype=int)
    for inner, outer in folds(y, groups, FOLDS):
        tfidf = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True, min_df=2)
        svm = LinearSVC(C=1.0).fit(tfidf.fit_transform([words[i] for i in inner]), y[inner])
        predicted[outer] = svm.predict(tfidf.transform([words[i] for i in outer]))
    result = {
        "texts": len(items),
        "labels": len(labels),
        "folds": FOLDS,
        "minsheng": {key: scores[key] for key in ("accuracy", "macro_f1", "ece", "acceptable_at_coverage")},
        "tfidf_linear_svm_macro_f1": round(float(f1_score(y, predicted, average="macro")), 4),
        "train_seconds_after_encoding": round(seconds),
        "encoder": encoder.encoder_id,
    }
    path = ROOT / "bench" / "results" / "own-labels.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
