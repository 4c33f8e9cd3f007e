"""What lies around the four labeled organs of a computer-made thorax.

Lengths are in mm from the carina, where the trachea splits: x to the patient's left, y to the back, z to the
head. Everything is laid out for a body of scale 1; `Body.add` applies the patient's scale.
"""

from __future__ import annotations

import numpy as np

from monai_ext.phantoms.shapes import FEET, HEAD, Body


def add_trunk(body: Body, a: float, b: float) -> None:
    """Skin, fat, muscle, lungs and the fat between them."""
    u, fat, wall = body.u, body.u(7, 22), body.u(11, 17)
    neck = body.between((55, 1.0), (100, 0.72), (112, 0.5), (130, 0.42))
    if u() < 0.5:  # breasts
        bulge = body.ball(-125, -25)
        for side in (-1, 1):
            half_width, half_height = 52 * u(0.8, 1.1) * bulge, u(21, 29)
            body.add("fat", -125, -25, side * 78, -b + 18, half_width, half_height)
    body.add("fat", FEET, HEAD, 0, 0, a * neck, b * (0.3 + 0.7 * neck))
    body.add("muscle", FEET, HEAD, 0, 2, (a - fat) * neck, (b - 0.8 * fat) * (0.3 + 0.7 * neck))
    for side in (-1, 1):  # fat between the muscles of the neck
        body.add("fat", 72, 106, side * u(48, 60), u(-12, 8), 20, 13, side * 0.4)
        body.add("fat", 72, HEAD, side * u(24, 30), u(30, 40), 3, 22, side * -0.5)
    apex, chest = u(80, 94), (a - fat - wall, b - 0.8 * fat - wall)
    size = body.dome(apex, 75)
    body.add("fat", FEET, apex - 5, 0, 0, 0.94 * chest[0] * size, 0.94 * chest[1] * size)
    half = 0.5 * (chest[0] - 10)
    for side, width in ((-1, half), (1, 0.94 * half)):
        x = side * (10 + half) * (0.45 + 0.55 * size)
        body.add("lung", FEET, apex, x, 0, width * size, 0.93 * chest[1] * size)
    body.add("fat", -40, apex, -2, -6, u(25, 32), u(46, 56))
    for _ in range(60):  # vessels in the lungs, cut across
        place, z, r = u(45, 125) * (-1) ** int(u(0, 2)), u(-130, 70), u(1.5, 4.5)
        body.add("vein", z, z + u(8, 25), place, u(-65, 65), r, r * u(0.6, 1), u(0, np.pi))
    if u() < 0.5:  # a tumor
        place, z, r = u(60, 105) * (-1) ** int(u(0, 2)), u(-80, 40), u(9, 20)
        radius = r * body.ball(z - r, z + r)
        body.add("node", z - r, z + r, place, u(-50, 50), radius, radius)


def add_skeleton(body: Body, a: float, b: float) -> None:
    """Ribs, sternum, shoulder blades and spine; ``a`` and ``b`` are the half axes of the rib cage."""
    u, z = body.u, body.z
    first, step, slope = u(85, 100), u(23, 27), u(28, 36)
    for number in range(10):
        top = first - step * number
        theta = np.clip((top - z) / slope, 0, 3)  # from the spine along the wall to the sternum
        size = np.clip(0.55 + 0.15 * number, 0, 1)
        for side in (-1, 1):
            x, y = side * a * size * np.sin(theta + 0.2), b * (0.3 + 0.7 * size) * np.cos(theta + 0.2)
            angle = np.arctan2(-b * np.sin(theta + 0.2), side * a * np.cos(theta + 0.2))
            body.add("bone", top - 2.5 * slope, top, x, y, 11, 4, angle)
            body.add("marrow", top - 2.5 * slope, top, x, y, 7, 1.5, angle)
    for side in (-1, 1):
        body.add("bone", 52, 72, side * body.between((52, 38), (72, 80)), -b + 34, 26, 5, side * -0.25)
        body.add("bone", -60, 62, side * (a - 32), 0.72 * b, 32, 3.5, side * -0.6)
    body.add("bone", -95, 45, 0, -b + 4, body.between((-95, 10), (-60, 15), (25, 17), (45, 24)), 5.5)
    body.add("marrow", -95, 45, 0, -b + 4, body.between((-95, 7), (45, 14)), 3)
    for tissue, less in (("bone", 0.0), ("marrow", 3.0)):
        body.add(tissue, FEET, HEAD, 0, 54, 18 - less, 14.5 - less)
    body.add("bone", FEET, HEAD, 0, 74, body.between((-180, 22), (0, 30), (90, 26)), 5)
    body.add("bone", FEET, HEAD, 0, 74, 14, 12)
    body.add("bone", FEET, HEAD, 0, 90, 3.5, 12)
    body.add("muscle", FEET, HEAD, 0, 74, 9, 7.5)


def add_abdomen(body: Body) -> None:
    """Liver, stomach and spleen below the domes of the diaphragm."""
    u = body.u
    right, left = u(-108, -88), u(-122, -104)
    size = body.dome(-118, 45)
    body.add("fat", FEET, -118, 0, 0, 132 * size, 84 * size)
    size = body.dome(left, 45)
    body.add("fat", FEET, left, 62, -4, 66 * size, 82 * size)
    body.add("stomach", FEET, left - 6, u(48, 62), u(-30, -15), 36 * size, 30 * size, 0.4)
    if u() < 0.6:
        body.add("gas", FEET, left - 10, 55, -44, 18 * size, 8 * size)
    body.add("spleen", FEET, left - 8, 92, 40, 26 * size, 38 * size, -0.4)
    size = body.dome(right, 55)
    body.add("liver", FEET, right, -58, -4, 76 * size, 82 * size, 0.1)
    body.add("liver", FEET, right - 12, 5, -48, 48 * size, 30 * size)
    for _ in range(6):
        body.add("vein", FEET, right - 15, u(-100, -30), u(-45, 45), u(2, 8), u(2, 4), u(0, np.pi))
    for side in (-1, 1):  # crura of the diaphragm beside the aorta
        body.add("muscle", FEET, -128, side * 14 + 6, 34, 5, 13, side * 0.3)


def add_vessels(body: Body) -> None:
    """Veins, the branches of the arch, pulmonary arteries and lymph nodes, all beside the labeled organs."""
    u = body.u
    r = u(7.5, 10)
    body.add("vein", -32, 60, -27 + body.sway(2), -14 + body.sway(3), r, r * u(0.7, 1))
    body.add("vein", 40, 62, 2, -32, 30, 6.5, -0.15)
    for x, y, r in ((-14.0, -16.0, u(5, 7)), (9, -8, u(3.5, 5)), (23, 10, u(4.5, 6))):  # branches of the arch
        body.add("blood", 36, 104, x * body.between((36, 1), (104, 1.7)), y, r, r * u(0.8, 1.1))
        body.add("vein", 55, 128, 1.6 * x - 4, y - 10, 1.2 * r, r)
    for side in (-1, 1):  # thyroid, bright by its iodine
        body.add("thyroid", 78, 106, side * 17 - 3, u(-6, 2), u(5, 8), u(8, 12), side * -0.2)
    body.add("vein", FEET, 18, -9, 36 + body.sway(2), u(3, 5), u(3, 5))
    body.add("vein", -40, -12, 18, -34, u(14, 17), u(12, 15), 0.4)  # pulmonary trunk and its branches
    body.add("vein", -28, -9, -16, -14, 30, u(8, 10), 0.15)
    body.add("vein", -26, -4, 34, -6, 22, u(8, 10), -0.5)
    for side in (-1, 1):
        for _ in range(5):
            z, r = u(-55, 0), u(4, 8)
            body.add("vein", z - 12, z + 8, side * u(36, 54), u(-14, 22), r, r * u(0.6, 1), u(0, np.pi))
    for _ in range(int(u(3, 8))):
        x, y, z, r = u(-24, 24), u(-38, 26), u(-25, 80), u(3, 7)
        body.add("node", z - r, z + r, x, y, r * body.ball(z - r, z + r), 0.8 * r, u(0, np.pi))
