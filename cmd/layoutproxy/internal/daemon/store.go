package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// prepareStore creates the store, and completes the import of a killed process. A store
// that this user may only read is served as it is.
func prepareStore(ctx context.Context, log *zap.Logger, dir string) error {
	if dir == "" || bucket.IsPlace(dir) { // a server only reads a store in a bucket
		return nil
	}
	i, err := importer.New(importer.Options{Store: dir, Log: log})
	if err != nil {
		return err
	}
	err = i.Recover(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		if _, missing := os.Stat(dir); missing == nil {
			log.Warn("the store is served as it is: this user may not write to it", zap.String("store", dir), zap.Error(err))
			return nil
		}
	}
	if err != nil && ctx.Err() == nil {
		return exit.WithHint(err, "the store must be a directory that this user can write to")
	}
	return nil
}
