"""Benign samples of numpy, scipy, pandas and scikit-learn."""

import datetime
import pickle

import joblib
import numpy
import pandas
import scipy.sparse
import sklearn.base

from benign import maker

RANDOM = numpy.random.RandomState(5)
X = RANDOM.rand(40, 4)
Y = numpy.array([0, 1] * 20)


@maker("numpy")
def arrays(folder):
    kinds = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 S5 U5 >f4 >i8 M8[s] m8[D] V3".split()
    for kind in kinds:
        numpy.save(
            folder / f"{kind.replace('>', 'big').replace('[', '_').replace(']', '')}.npy", numpy.zeros((2, 3), kind)
        )
    record = numpy.zeros(3, dtype=[("a", "f4"), ("b", "i4", (2,)), ("name", "U8")])
    numpy.save(folder / "record.npy", record)
    numpy.save(folder / "fortran.npy", numpy.asfortranarray(X))
    numpy.save(folder / "scalar.npy", numpy.float32(2))
    numpy.save(folder / "empty.npy", numpy.zeros((0, 4)))
    objects = numpy.array([None, "text", 3, {"a": [1]}, (1, 2)], dtype=object)
    numpy.save(folder / "objects.npy", objects, allow_pickle=True)
    numpy.save(folder / "ragged.npy", numpy.array([[1], [1, 2]], dtype=object), allow_pickle=True)
    numpy.save(folder / "dictionary.npy", {"weights": X, "names": ["a"]}, allow_pickle=True)


@maker("numpy")
def archives(folder):
    numpy.savez(folder / "plain.npz", a=X, b=Y)
    numpy.savez_compressed(folder / "compressed.npz", a=X, b=Y)
    numpy.savez(folder / "objects.npz", names=numpy.array(["a", None], dtype=object), x=X)
    scipy.sparse.save_npz(folder / "sparse.npz", scipy.sparse.csr_matrix(X))


@maker("numpy")
def pickled_arrays(folder):
    for protocol in range(6):
        value = {"x": X, "state": RANDOM.get_state(), "scalar": numpy.float64(2), "dtype": X.dtype, "f": X.T}
        (folder / f"arrays{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))
    values = {
        "generator": numpy.random.default_rng(3),
        "random_state": RANDOM,
        "masked": numpy.ma.masked_array(X, X > 0.5),
        "recarray": numpy.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "matrix": numpy.matrix([[1, 2]]),
        "polynomial": numpy.polynomial.Polynomial([1, 2]),
        "ufunc": {"f": numpy.add, "mean": numpy.mean},
        "datetime": numpy.datetime64("2026-01-01"),
        "strings": numpy.array(["a", "b"]),
        "dtypes": [numpy.dtype("f4"), numpy.float32, numpy.dtype([("a", "i4")])],
        "seeds": numpy.random.SeedSequence(5),
        "pcg": numpy.random.PCG64(5),
        "philox": numpy.random.Philox(5),
    }
    for name, value in values.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))


@maker("scipy")
def scientific(folder):
    values = {
        "csr": scipy.sparse.csr_matrix(X),
        "coo": scipy.sparse.coo_array(X),
        "csc": scipy.sparse.csc_matrix(X),
        "lil": scipy.sparse.lil_matrix(X),
        "dok": scipy.sparse.dok_matrix(X[:2]),
        "interpolation": scipy.interpolate.CubicSpline([0, 1, 2], [1, 2, 3]),
        "tree": scipy.spatial.KDTree(X),
        "rotation": scipy.spatial.transform.Rotation.identity(),
        "normal": scipy.stats.norm(0, 1),
        "result": scipy.optimize.minimize(numpy.sum, [0.5], method="Nelder-Mead", options={"maxiter": 2}),
    }
    for name, value in values.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))


@maker("pandas")
def frames(folder):
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": pandas.to_datetime(["2026-01-01", "2026-01-02"])})
    values = {
        "frame": frame,
        "series": frame["a"],
        "categories": frame.assign(d=pandas.Categorical(["u", "v"])),
        "multi": frame.set_index(["a", "b"]),
        "nullable": pandas.DataFrame(
            {"i": pandas.array([1, None], dtype="Int64"), "s": pandas.array(["a", None], dtype="string")}
        ),
        "timestamp": pandas.Timestamp("2026-01-01", tz="UTC"),
        "period": pandas.period_range("2026-01", periods=3, freq="M"),
        "interval": pandas.cut(pandas.Series([1, 2, 3]), 2),
        "range": pandas.RangeIndex(5),
        "delta": pandas.Series([pandas.Timedelta(1, "D")]),
        "sparse": pandas.DataFrame({"a": pandas.arrays.SparseArray([0, 0, 1])}),
    }
    for name, value in values.items():
        pandas.to_pickle(value, folder / f"{name}.pkl")
    pandas.to_pickle(frame, folder / "frame.pkl.gz")
    pandas.to_pickle(frame, folder / "frame.pkl.xz")
    pandas.to_pickle(frame, folder / "frame.pkl.zip")
    pandas.to_pickle(frame, folder / "frame.pkl.zst")
    pandas.to_pickle(frame, folder / "frame2.pkl", protocol=2)
    frame.to_csv(folder / "frame.csv")
    frame.to_json(folder / "frame.json")


ESTIMATORS = """linear_model:LinearRegression linear_model:LogisticRegression linear_model:Ridge linear_model:Lasso
linear_model:SGDClassifier linear_model:Perceptron linear_model:BayesianRidge tree:DecisionTreeClassifier
tree:DecisionTreeRegressor tree:ExtraTreeClassifier ensemble:RandomForestClassifier
ensemble:GradientBoostingClassifier ensemble:HistGradientBoostingClassifier ensemble:AdaBoostClassifier
ensemble:BaggingClassifier ensemble:IsolationForest ensemble:ExtraTreesRegressor svm:SVC svm:LinearSVC svm:NuSVR
neighbors:KNeighborsClassifier neighbors:NearestNeighbors neighbors:KernelDensity naive_bayes:GaussianNB
naive_bayes:BernoulliNB cluster:KMeans cluster:DBSCAN cluster:AgglomerativeClustering cluster:MiniBatchKMeans
decomposition:PCA decomposition:TruncatedSVD decomposition:NMF decomposition:FastICA preprocessing:StandardScaler
preprocessing:MinMaxScaler preprocessing:OneHotEncoder preprocessing:PolynomialFeatures
preprocessing:QuantileTransformer preprocessing:KBinsDiscretizer neural_network:MLPClassifier
gaussian_process:GaussianProcessRegressor mixture:GaussianMixture discriminant_analysis:LinearDiscriminantAnalysis
impute:SimpleImputer feature_selection:SelectKBest dummy:DummyClassifier isotonic:IsotonicRegression
covariance:EmpiricalCovariance manifold:Isomap calibration:CalibratedClassifierCV
kernel_approximation:RBFSampler random_projection:GaussianRandomProjection cross_decomposition:PLSRegression""".split()
SMALL = {
    "ensemble": {"n_estimators": 2},
    "HistGradientBoostingClassifier": {"max_iter": 2},
    "IsolationForest": {"n_estimators": 2},
    "SelectKBest": {"k": 2},
    "MLPClassifier": {"max_iter": 3, "hidden_layer_sizes": (3,)},
    "GaussianRandomProjection": {"n_components": 2},
    "KMeans": {"n_clusters": 2, "n_init": 1},
    "QuantileTransformer": {"n_quantiles": 5},
}


def fitted():
    import importlib

    for entry in ESTIMATORS:
        module, name = entry.split(":")
        cls = getattr(importlib.import_module(f"sklearn.{module}"), name)
        options = SMALL.get(name, {} if name == "HistGradientBoostingClassifier" else SMALL.get(module, {}))
        x = X[:, 0] if name == "IsotonicRegression" else X
        yield name, cls(**options).fit(x, Y)


@maker("sklearn")
def estimators(folder):
    for number, (name, estimator) in enumerate(fitted()):
        if number % 2:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(estimator, 2 + number % 4))
        else:
            joblib.dump(estimator, folder / f"{name}.joblib")


@maker("sklearn")
def compressed(folder):
    pairs = dict(fitted())
    methods = ["zlib", "gzip", "bz2", "xz", "lzma", "lz4"]
    for method, name in zip(
        methods, ["PCA", "SVC", "KMeans", "Ridge", "RandomForestClassifier", "GaussianNB"], strict=True
    ):
        joblib.dump(pairs[name], folder / f"{name}.{method}.joblib", compress=(method, 3))
    joblib.dump({"model": pairs["PCA"], "columns": ["a", "b"], "x": X}, folder / "bundle.joblib")
    joblib.dump(X, folder / "array.joblib")
    joblib.dump([X, X.T, Y], folder / "arrays.joblib", compress=True)
    joblib.dump(numpy.array(["a", None], dtype=object), folder / "objects.joblib")


@maker("sklearn")
def pipelines(folder):
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.ensemble import StackingClassifier, VotingClassifier
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, LabelEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    texts = ["one two three", "two three four"] * 5
    models = {
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
        "columns": ColumnTransformer([("s", StandardScaler(), [0, 1])], remainder="passthrough").fit(X),
        "union": FeatureUnion([("s", StandardScaler())]).fit(X),
        "grid": GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=KFold(2)).fit(X, Y),
        "voting": VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())]).fit(X, Y),
        "stacking": StackingClassifier([("a", LogisticRegression())], cv=2).fit(X, Y),
        "count": CountVectorizer().fit(texts),
        "tfidf": TfidfVectorizer(ngram_range=(1, 2)).fit(texts),
        "hashing": HashingVectorizer(n_features=16),
        "labels": LabelEncoder().fit(["a", "b"]),
        "target": TransformedTargetRegressor(LinearRegression()).fit(X, Y),
        "function": FunctionTransformer(numpy.log1p).fit(X),
        "unfitted": sklearn.base.clone(LogisticRegression(C=2)),
    }
    for name, model in models.items():
        joblib.dump(model, folder / f"{name}.joblib")
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))


@maker("sklearn")
def boosted(folder):
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1).fit(X, Y)
    joblib.dump(model, folder / "lightgbm.joblib")
    model.booster_.save_model(str(folder / "lightgbm.txt"))
    (folder / "booster.pkl").write_bytes(pickle.dumps(model.booster_))


@maker("pickle")
def plain_values(folder):
    values = {
        "dictionary": {"a": 1, "b": [1.5, None, True], "c": ("x", b"y")},
        "dates": [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(3)],
        "large": list(range(20_000)),
        "long": [2**80, -(2**200), 0, -1],
        "unicode": {"é": "☃", "emoji": "\U0001f600", "lone": "\ud800"},
        "shared": [[1]] * 5,
        "floats": [float("nan"), float("inf"), -0.0, 1e-300],
        "nested": {"a": {"b": {"c": {"d": [[[[]]]]}}}},
    }
    circle = []
    circle.append(circle)
    values["circle"] = circle
    for name, value in values.items():
        for protocol in (0, 2, 4, 5):
            (folder / f"{name}{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))
    with open(folder / "stream.pkl", "wb") as stream:
        for number in range(50):
            pickle.dump({"step": number, "loss": 1 / (number + 1)}, stream)
    (folder / "functions.pkl").write_bytes(pickle.dumps({"types": [int, str, dict, list, float, bytes, type(None)]}))
    (folder / "method.pkl").write_bytes(pickle.dumps({"cls": datetime.datetime, "exception": ValueError("bad value")}))
