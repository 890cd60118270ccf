"""Train a small convolutional network on scikit-learn's 8x8 digits."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, hidden, dropout):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(32 * 2 * 2, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout(torch.flatten(x, 1))
        x = F.relu(self.fc1(x))
        return self.fc2(self.dropout(x))


def load(args):
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    labels = torch.tensor(labels)
    # the split stays the same whatever the seed of the training
    train, val = train_test_split(
        range(len(labels)), test_size=0.25, random_state=0, stratify=labels
    )
    train_set = TensorDataset(images[train], labels[train])
    val_set = TensorDataset(images[val], labels[val])
    return (
        DataLoader(train_set, batch_size=args.batch_size, shuffle=True),
        DataLoader(val_set, batch_size=args.val_batch_size),
    )


def train(args, model, device, loader, optimizer):
    model.train()
    total = 0.0
    for batch, (images, labels) in enumerate(loader):
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels, label_smoothing=args.label_smoothing)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        if args.log_interval and batch % args.log_interval == 0:
            print(f"  batch {batch}/{len(loader)} running {loss.item():.4f}")
    return total / len(loader.dataset)


@torch.no_grad()
def validate(model, device, loader):
    model.eval()
    correct = 0
    for images, labels in loader:
        predicted = model(images.to(device)).argmax(dim=1)
        correct += (predicted == labels.to(device)).sum().item()
    return correct / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description="Digits with a small CNN")
    parser.add_argument("--epochs", type=int, default=6, help="epochs to train (default: 6)")
    parser.add_argument("--batch-size", type=int, default=64, help="input batch size for training")
    parser.add_argument("--val-batch-size", type=int, default=500)
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate (default: 0.01)")
    parser.add_argument("--momentum", type=float, default=0.5, help="momentum of SGD")
    parser.add_argument("--weight-decay", type=float, default=0.0, help="L2 penalty")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--hidden", type=int, default=64, help="width of the hidden layer")
    parser.add_argument("--dropout", type=float, default=0.25, help="share of dropped activations")
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--gamma", type=float, default=0.9, help="decay of the rate per epoch")
    parser.add_argument("--nesterov", action="store_true", help="use Nesterov momentum with SGD")
    parser.add_argument("--no-cuda", action="store_true", help="do not use a GPU")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument("--log-interval", type=int, default=0, help="batches between log lines")
    parser.add_argument("--save-model", metavar="PATH", help="where to save the final weights")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    use_cuda = not args.no_cuda and torch.cuda.is_available()
    device = torch.device("cuda" if use_cuda else "cpu")

    train_loader, val_loader = load(args)
    model = Net(args.hidden, args.dropout).to(device)
    if args.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=args.lr,
            momentum=args.momentum,
            weight_decay=args.weight_decay,
            nesterov=args.nesterov and args.momentum > 0,
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=args.gamma)

    for epoch in range(1, args.epochs + 1):
        train_loss = train(args, model, device, train_loader, optimizer)
        val_acc = validate(model, device, val_loader)
        scheduler.step()
        print(f"epoch {epoch} train_loss={train_loss:.4f} val_acc={val_acc:.4f}", flush=True)

    if args.save_model:
        torch.save(model.state_dict(), args.save_model)


if __name__ == "__main__":
    main()
