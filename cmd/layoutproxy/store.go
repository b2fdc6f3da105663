package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer"
)

// storeFlags are the flags of serve that concern its store.
type storeFlags struct {
	dir  string
	drop dropFlags
	push pushToFlags
}

func (s *storeFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "store", "", "`directory` that bundles are imported into, served after all sources; it is made if it is not there")
	s.drop.flags(f)
	s.push.flags(f)
}

// ready makes the store, and finishes what an import that was killed has begun. A
// store that this user may only read is served as it is seen.
func (s *storeFlags) ready(ctx context.Context, log *zap.Logger) error {
	if s.dir == "" {
		return nil
	}
	i, err := importer.New(importer.Options{Store: s.dir, Log: log})
	if err != nil {
		return err
	}
	err = i.Recover(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		if _, missing := os.Stat(s.dir); missing == nil {
			log.Warn("the store is served as it is: this user may not write to it", zap.String("store", s.dir), zap.Error(err))
			return nil
		}
	}
	if err != nil && ctx.Err() == nil {
		return exit.WithHint(err, "the store is a directory that this user may write to")
	}
	return nil
}
