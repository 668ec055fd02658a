"""Analysis of civic submissions: text → Document → vectors → themes. Knows nothing of HTTP or databases."""
