"""The feature columns of the TensorFlow 2.0 guide on heart-disease records.

    python examples/seed_feature_columns.py [heart.csv]

Without a file it makes records with the same columns, whose `target` depends on age and thal.
"""

import csv
import sys

import numpy as np

import distflow as tf
from distflow import feature_column
from distflow.keras import layers

NUMBERS = ['age', 'trestbps', 'chol', 'thalach', 'oldpeak', 'slope', 'ca']


def read_records(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.asarray([float(row[name]) for row in rows]) for name in NUMBERS}
    columns["thal"] = np.asarray([row["thal"] for row in rows])
    return columns, np.asarray([int(row["target"]) for row in rows])


def make_records(count=300):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(2, 1, count) for name in NUMBERS}
    columns["age"] = rng.integers(29, 77, count).astype(float)
    columns["thal"] = rng.choice(["fixed", "normal", "reversible"], count)
    return columns, ((columns["age"] > 55) & (columns["thal"] == "reversible")).astype(int)


features, target = read_records(sys.argv[1]) if len(sys.argv) > 1 else make_records()
held_out = len(target) // 5


def make_dataset(rows):
    part = {name: column[rows] for name, column in features.items()}
    return tf.data.Dataset.from_tensor_slices((part, target[rows])).batch(32)


train_ds = make_dataset(slice(held_out, None)).shuffle(10)
val_ds = make_dataset(slice(None, held_out))

feature_columns = []

# 数值列
for header in ['age', 'trestbps', 'chol', 'thalach', 'oldpeak', 'slope', 'ca']:
  feature_columns.append(feature_column.numeric_column(header))

age = feature_column.numeric_column("age")
# 分桶列
age_buckets = feature_column.bucketized_column(age, boundaries=[18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
feature_columns.append(age_buckets)

# 分类列
thal = feature_column.categorical_column_with_vocabulary_list(
      'thal', ['fixed', 'normal', 'reversible'])
thal_one_hot = feature_column.indicator_column(thal)
feature_columns.append(thal_one_hot)

# 嵌入列
thal_embedding = feature_column.embedding_column(thal, dimension=8)
feature_columns.append(thal_embedding)

# 组合列
crossed_feature = feature_column.crossed_column([age_buckets, thal], hash_bucket_size=1000)
crossed_feature = feature_column.indicator_column(crossed_feature)
feature_columns.append(crossed_feature)

# 建立一个新的特征层
# 使用密集特征（DenseFeatures）层将特征列输入到我们的 Keras 模型中。
feature_layer = tf.keras.layers.DenseFeatures(feature_columns)

# 创建，编译和训练模型
model = tf.keras.Sequential([
  feature_layer,
  layers.Dense(128, activation='relu'),
  layers.Dense(128, activation='relu'),
  layers.Dense(1, activation='sigmoid')
])

model.compile(optimizer='adam',
              loss='binary_crossentropy',
              metrics=['accuracy'],
              run_eagerly=True)

model.fit(train_ds,
          validation_data=val_ds,
          epochs=5)
