"""Tables of measurements, in their raw units."""

from __future__ import annotations

from trainer.data.dataset import Array, DatasetInfo

BREAST_CANCER = DatasetInfo(
    name="breast-cancer",
    summary="569 tumours, 30 measurements each: malignant or benign",
    source="Wolberg, Mangasarian, Street 1995, Breast Cancer Wisconsin; as scikit-learn ships it",
    task="tabular-classification",
    input_name="features",
    input_shape=(30,),
    units="raw measurements",
    value_range=None,
    class_labels=("malignant", "benign"),
    split_sizes={"train": 375, "validation": 80, "test": 114},
    feature_names=(
        "mean radius",
        "mean texture",
        "mean perimeter",
        "mean area",
        "mean smoothness",
        "mean compactness",
        "mean concavity",
        "mean concave points",
        "mean symmetry",
        "mean fractal dimension",
        "radius error",
        "texture error",
        "perimeter error",
        "area error",
        "smoothness error",
        "compactness error",
        "concavity error",
        "concave points error",
        "symmetry error",
        "fractal dimension error",
        "worst radius",
        "worst texture",
        "worst perimeter",
        "worst area",
        "worst smoothness",
        "worst compactness",
        "worst concavity",
        "worst concave points",
        "worst symmetry",
        "worst fractal dimension",
    ),
)

WINE = DatasetInfo(
    name="wine",
    summary="178 wines of three cultivars, 13 chemical measurements each",
    source="Forina 1991, Wine recognition data; as scikit-learn ships it",
    task="tabular-classification",
    input_name="features",
    input_shape=(13,),
    units="raw measurements",
    value_range=None,
    class_labels=("cultivar 0", "cultivar 1", "cultivar 2"),
    split_sizes={"train": 117, "validation": 25, "test": 36},
    feature_names=(
        "alcohol",
        "malic acid",
        "ash",
        "alcalinity of ash",
        "magnesium",
        "total phenols",
        "flavanoids",
        "nonflavanoid phenols",
        "proanthocyanins",
        "color intensity",
        "hue",
        "od280/od315 of diluted wines",
        "proline",
    ),
)

DIABETES = DatasetInfo(
    name="diabetes",
    summary="442 patients, 10 measurements each: how far their diabetes got in a year",
    source="Efron, Hastie, Johnstone, Tibshirani 2004, Least angle regression; in scikit-learn",
    task="regression",
    input_name="features",
    input_shape=(10,),
    units="raw measurements",
    value_range=None,
    class_labels=("disease progression",),
    split_sizes={"train": 289, "validation": 65, "test": 88},
    feature_names=(
        "age",
        "sex",
        "body mass index",
        "blood pressure",
        "total cholesterol",
        "low-density lipoproteins",
        "high-density lipoproteins",
        "total cholesterol / HDL",
        "log of triglycerides",
        "blood sugar",
    ),
)


def load_diabetes() -> tuple[Array, Array]:
    """Measurements (442, 10) and progressions (442, 1)."""
    from sklearn import datasets

    bunch = datasets.load_diabetes(scaled=False)
    return bunch.data, bunch.target[:, None]


def load_breast_cancer() -> tuple[Array, Array]:
    """Measurements (569, 30) and classes."""
    from sklearn import datasets

    bunch = datasets.load_breast_cancer()
    return bunch.data, bunch.target


def load_wine() -> tuple[Array, Array]:
    """Measurements (178, 13) and classes."""
    from sklearn import datasets

    bunch = datasets.load_wine()
    return bunch.data, bunch.target
