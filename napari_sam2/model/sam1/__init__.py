"""Segment Anything 1: the networks that segment single images (Kirillov and others, 2023)."""
