"""Criteria of attacks as the papers write them, in plain NumPy, one image at a time."""

import numpy as np


def picture(image_map: np.ndarray) -> np.ndarray:
    """Magnitudes of [C, H, W], added up over channels and divided by the largest."""
    total = np.zeros(image_map.shape[1:])
    for channel in image_map:
        total = total + np.abs(channel)
    return np.asarray(total / total.max())


def target_mse(image_map: np.ndarray, target: np.ndarray) -> float:
    difference = picture(image_map) - np.abs(target) / np.abs(target).max()
    return float((difference**2).sum() / difference.size)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.abs(a).ravel(), np.abs(b).ravel()
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def topk_share(clean: np.ndarray, attacked: np.ndarray, k: float) -> float:
    count = round(k * clean.size)
    first = set(np.argsort(-np.abs(clean).ravel(), kind="stable")[:count].tolist())
    second = set(np.argsort(-np.abs(attacked).ravel(), kind="stable")[:count].tolist())
    return len(first & second) / count


def mass_shift(clean: np.ndarray, attacked: np.ndarray) -> float:
    def centre(image_map: np.ndarray) -> np.ndarray:
        weights, place, total = np.abs(image_map).sum(axis=0), np.zeros(2), 0.0
        for i in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                place += weights[i, j] * np.array([i, j])
                total += weights[i, j]
        return place / total

    return -float(np.sqrt(((centre(attacked) - centre(clean)) ** 2).sum()))


def frame(height: int, width: int, thickness: int) -> np.ndarray:
    picture = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            edge = min(i, j, height - 1 - i, width - 1 - j)
            picture[i, j] = 1.0 if edge < thickness else 0.0
    return picture
